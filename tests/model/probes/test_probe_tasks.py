"""What a task must be: every fault is named before anything is computed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from probe_tasks import Lines, planted, request_of

from catalog import Interval
from model.probes.run import run_probe
from model.probes.splits import at_random, require_apart, reverse_complement
from model.probes.task import read_task


def changed(**columns: Any) -> Callable[[Lines], Lines]:
    return lambda lines: lines | {name: make(lines) for name, make in columns.items()}


def split(lines: Lines) -> list[str]:
    return ["train", "train", "train", "valid", "test"] * (len(lines["sequence"]) // 5)


FAULTS = {
    "constant target": (changed(activity=lambda lines: [3] * 120), {"metric": "pearson"}, "constant, 3"),
    "one class": (changed(activity=lambda lines: [1] * 120), {}, "of one class, 1"),
    "empty part": (changed(split=lambda lines: ["train", "test"] * 60), {}, "validation part has no rows"),
    "duplicates in two parts": (
        changed(
            split=split, sequence=lambda lines: [*lines["sequence"][:115], *lines["sequence"][3:5] * 2, "ACGT" * 10]
        ),
        {},
        "6 of 120 rows have a sequence that another part has",
    ),
    "no such fold": (changed(fold=lambda lines: [1, 2, 3] * 40), {"split": "folds", "test": ("9",)}, "of the fold '9'"),
    "lengths along": (
        changed(sequence=lambda lines: [lines["sequence"][0][:30] + "A", *lines["sequence"][1:]]),
        {"heads": ("cnn",)},
        "31 to 40 bp",
    ),
    "too few bins": (changed(), {"heads": ("cnn",), "resolution": 4}, "at least 20 bins"),
    "words longer than bins": (changed(), {"heads": ("cnn",)}, "40 bases are 14 of 3 bp of kmer:3"),
    "letters": (changed(sequence=lambda lines: ["ACGX", *lines["sequence"][1:]]), {}, "no bases, 'X'"),
    "unknown targets": (changed(activity=lambda lines: ["NA"] * 120), {}, "not known of any row"),
    "metric of classes": (changed(), {"metric": "auroc"}, "targets of 0 and 1"),
    "metric of numbers": (
        changed(activity=lambda lines: [0, 1] * 60),
        {"metric": "pearson"},
        "all targets are 0 and 1; take auroc",
    ),
    "logistic of numbers": (changed(), {"heads": ("logistic",)}, "take ridge"),
    "no such extractor": (changed(), {"features": ("nothing",)}, "nothing"),
    "no target": (lambda lines: {"sequence": lines["sequence"], "note": ["x"] * 120}, {}, "no column of numbers"),
    "infinite target": (changed(activity=lambda lines: ["inf", *range(119)]), {}, "infinite"),
}


@pytest.mark.parametrize("fault", [pytest.param(value, id=name) for name, value in FAULTS.items()])
def test_what_does_not_fit_is_refused_before_anything_is_computed(
    fault: tuple[Callable[[Lines], Lines], dict[str, Any], str], tmp_path: Path
) -> None:
    change, more, message = fault
    request = request_of(tmp_path, change(planted()), **more)
    with pytest.raises(ValueError, match=message):
        run_probe(request)
    assert not request.out.exists()


def placed(rows: int, *, contig: str = "one") -> Lines:
    return {
        "contig": ["one", "two", contig] * (rows // 3),
        "start": [number * 10 for number in range(rows)],
        "end": [number * 10 + 10 for number in range(rows)],
        "strand": ["+", "-", "."] * (rows // 3),
        "activity": list(range(rows)),
    }


@pytest.fixture
def genome(tmp_path: Path) -> str:
    rng = np.random.default_rng(0)
    path = tmp_path / "genome.fa"
    path.write_text("".join(f">{name}\n{''.join(rng.choice(list('ACGT'), 400))}\n" for name in ("one", "two", "three")))
    return str(path)


def test_contigs_that_the_genome_lacks_are_named(tmp_path: Path, genome: str) -> None:
    with pytest.raises(ValueError, match=r"1 contigs of the task are not in .*: four"):
        run_probe(request_of(tmp_path / "run", placed(30, contig="four"), fasta=genome))


def test_a_place_is_read_along_its_strand_with_its_neighbours_as_context(tmp_path: Path, genome: str) -> None:
    request = request_of(
        tmp_path / "run", placed(30, contig="three"), fasta=genome, split="contig", test=("two",), validation=("three",)
    )
    task = read_task(request)
    bases = {line.split("\n")[0]: line.split("\n")[1] for line in Path(genome).read_text()[1:].split("\n>")}
    forward = [bases[["one", "two", "three"][row % 3]].encode() for row in range(30)]
    for row, (plain, wide) in enumerate(zip(task.with_context(0), task.with_context(15), strict=True)):
        around = b"N" * 15 + forward[row] + b"N" * 15
        expected = around[row * 10 : row * 10 + 40]
        assert wide == (reverse_complement(expected) if row % 3 == 1 else expected)
        assert plain == wide[15:-15] == task.sequences[row]


def test_places_of_two_parts_that_overlap_are_counted() -> None:
    places = [Interval("one", start, start + 10) for start in (0, 20, 40, 45, 60)]
    sequences = [b"A", b"C", b"AC", b"AG", b"AT"]
    require_apart(np.array([0, 1, 2, 2, 0], dtype=np.int8), sequences, places)
    with pytest.raises(ValueError, match="1 of 5 rows overlap"):
        require_apart(np.array([0, 1, 2, 0, 0], dtype=np.int8), sequences, places)


@given(st.lists(st.text("ACGT", min_size=1, max_size=2), min_size=30, max_size=60))
def test_equal_sequences_of_either_strand_are_in_one_part_of_a_random_split(texts: list[str]) -> None:
    sequences = [text.encode() for text in texts]
    parts = at_random(sequences)
    both = dict(zip(sequences, parts.tolist(), strict=True))
    assert all(both[one] == part for one, part in zip(sequences, parts.tolist(), strict=True))
    assert all(both.get(reverse_complement(one), part) == part for one, part in both.items())
