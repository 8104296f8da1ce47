import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from full_disk import limited_files

from builders.extractors.motif import MotifExtractor
from catalog.motifs import IUPAC, find_motif
from catalog.simulation.genome import Simulation, simulate
from catalog.simulation.grammar import DISTAL, PROXIMAL, SimulationConfig, at_density

SMALL = SimulationConfig(seed=3, n_contigs=2, contig_length=1_500_007, n_genes=120, enhancers_per_mbp=40)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Simulation:
    return simulate(tmp_path_factory.mktemp("simulated"), SMALL)


@pytest.fixture(scope="module")
def contigs(small: Simulation) -> dict[str, str]:
    records = small.genome.read_text().removeprefix(">").split("\n>")
    return {record.split()[0]: "".join(record.split("\n")[1:]) for record in records}


@pytest.fixture(scope="module")
def truth(small: Simulation) -> pl.DataFrame:
    return pl.read_parquet(small.truth)


def of_kind(truth: pl.DataFrame, kind: str) -> list[dict[str, Any]]:
    return truth.filter(pl.col("element") == kind).to_dicts()


def reverse_complement(word: str) -> str:
    return word.translate(str.maketrans("ACGT", "TGCA"))[::-1]


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(small: Simulation, tmp_path: Path) -> None:
    again = simulate(tmp_path / "again", SMALL)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in small]
    other = simulate(tmp_path / "other", replace(SMALL, seed=4))
    assert other.genome.read_bytes() != small.genome.read_bytes()
    assert other.targets.read_bytes() != small.targets.read_bytes()


def test_it_writes_these_files_and_nothing_beside(small: Simulation) -> None:
    names = ["annotations.tsv", "genes.tsv", "genome.fa", "simulation.json", "targets.tsv", "truth.parquet"]
    assert sorted(path.name for path in small.genome.parent.iterdir()) == names
    description = json.loads(small.description.read_text())
    assert SimulationConfig(**description["config"]) == SMALL


def test_other_noise_or_wording_leaves_the_genome_as_it_is(small: Simulation, tmp_path: Path) -> None:
    noiseless = simulate(tmp_path, replace(SMALL, noiseless_share=1.0, wording_accuracy=1.0))
    assert noiseless.genome.read_bytes() == small.genome.read_bytes()
    expression = pl.read_csv(noiseless.targets, separator="\t")["expression"].to_numpy()
    promoters = pl.read_parquet(noiseless.truth).filter(pl.col("element") == "promoter")
    assert np.log1p(expression) == pytest.approx(promoters["noiseless_log_expression"].to_numpy(), abs=1e-5)
    says_housekeeping = pl.read_csv(noiseless.annotations, separator="\t")["name"].str.contains("housekeeping-like")
    assert says_housekeeping.to_list() == (promoters["class"] == "A").to_list()


def test_contigs_have_their_length_and_begin_with_n(contigs: dict[str, str]) -> None:
    assert list(contigs) == ["sim1", "sim2"]
    for sequence in contigs.values():
        assert len(sequence) == SMALL.contig_length
        assert sequence.count("N") == SMALL.leading_n
        assert sequence.startswith("N" * SMALL.leading_n)
        assert set(sequence) == set("ACGTN")


def test_the_background_is_poor_in_cpg_and_class_a_promoters_are_not(
    contigs: dict[str, str], truth: pl.DataFrame
) -> None:
    def ratio(sequence: str) -> float:
        return sequence.count("CG") * len(sequence) / (sequence.count("C") * sequence.count("G"))

    whole = contigs["sim1"][SMALL.leading_n :]
    assert 0.38 < (whole.count("G") + whole.count("C")) / len(whole) < 0.45
    assert ratio(whole) < 0.45
    for cls, least, most in (("A", 0.8, 1.4), ("B", 0.0, 0.6)):
        promoters = [p for p in of_kind(truth, "promoter") if p["class"] == cls]
        joined = "".join(contigs[p["contig"]][p["start"] : p["end"]] for p in promoters)
        assert least < ratio(joined) < most


def test_planted_sites_are_in_the_genome_at_the_stated_places(contigs: dict[str, str], truth: pl.DataFrame) -> None:
    n_sites = 0
    for element in truth.to_dicts():
        for site in element["sites"]:
            consensus = find_motif(site["motif"]).consensus
            assert element["start"] <= site["start"] <= element["end"] - len(consensus)
            word = contigs[element["contig"]][site["start"] : site["start"] + len(consensus)]
            word = word if site["strand"] == "+" else reverse_complement(word)
            assert all(base in IUPAC[letter] for base, letter in zip(word, consensus, strict=True))
            n_sites += 1
    assert n_sites > 500


def test_elements_hold_the_motifs_of_their_class_and_never_overlap(truth: pl.DataFrame) -> None:
    for element in truth.to_dicts():
        allowed = (PROXIMAL if element["element"] == "promoter" else DISTAL)[element["class"]]
        motifs = [site["motif"] for site in element["sites"] if site["motif"] != "TATA"]
        assert set(motifs) <= set(allowed)
        if element["element"] == "promoter":
            assert element["strength"] == len(motifs) / SMALL.max_promoter_sites
        else:
            assert element["strength"] == len(motifs) / 8
            assert SMALL.min_enhancer_sites <= len(motifs) <= SMALL.max_enhancer_sites
    for _, on_contig in truth.sort("start").group_by("contig"):
        assert (on_contig["start"].to_numpy()[1:] >= on_contig["end"].to_numpy()[:-1]).all()


def test_the_tata_box_lies_30_bp_upstream_on_the_strand_of_the_gene(truth: pl.DataFrame) -> None:
    length = len(find_motif("TATA").consensus)
    for promoter in of_kind(truth, "promoter"):
        boxes = [site for site in promoter["sites"] if site["motif"] == "TATA"]
        assert len(boxes) == (promoter["class"] == "B")
        for box in boxes:
            assert box["strand"] == promoter["strand"]
            first_base = box["start"] if box["strand"] == "+" else box["start"] + length - 1
            upstream = promoter["tss"] - first_base if box["strand"] == "+" else first_base - promoter["tss"]
            assert upstream == 30


def test_the_noiseless_expression_follows_from_the_planted_elements(truth: pl.DataFrame) -> None:
    out_of_reach = wrong_kind = 0
    for promoter in of_kind(truth, "promoter"):
        total, acting = 0.0, []
        for enhancer in of_kind(truth, "enhancer"):
            if enhancer["contig"] != promoter["contig"]:
                continue
            distance = abs((enhancer["start"] + enhancer["end"]) // 2 - promoter["tss"])
            if not 50_000 <= distance <= 450_000:
                out_of_reach += 1
            elif enhancer["class"] != promoter["class"]:
                wrong_kind += 1
            else:
                total += len(enhancer["sites"]) / 8 * math.exp(-distance / 150_000)
                acting.append(enhancer["element_id"])
        strength = sum(site["motif"] != "TATA" for site in promoter["sites"]) / 6
        base = {"A": 1.5, "B": 0.5}[promoter["class"]]
        expected = base + 2 * strength + 2 * strength * total
        assert promoter["noiseless_log_expression"] == pytest.approx(expected)
        assert promoter["acting_enhancers"] == acting
    assert out_of_reach
    assert wrong_kind


def test_enhancers_without_effect_leave_the_promoter_alone(tmp_path: Path) -> None:
    files = simulate(tmp_path, replace(SMALL, min_distance=2_000_000, max_distance=3_000_000))
    for promoter in of_kind(pl.read_parquet(files.truth), "promoter"):
        assert promoter["acting_enhancers"] == []
        base = {"A": 1.5, "B": 0.5}[promoter["class"]]
        assert promoter["noiseless_log_expression"] == pytest.approx(base + 2 * promoter["strength"])


def test_a_genome_may_have_no_enhancers(tmp_path: Path) -> None:
    files = simulate(tmp_path, replace(SMALL, enhancers_per_mbp=0, n_genes=3))
    assert pl.read_parquet(files.truth)["element"].to_list() == ["promoter"] * 3


def test_at_human_density_a_window_holds_about_six_promoters_and_a_gene_as_many_enhancers(tmp_path: Path) -> None:
    window_bp, usual = 251 * 4096, SimulationConfig(n_contigs=1, n_genes=60, contig_length=2_457_000)
    promoters, acting = [], []
    for name, config in {"usual": usual, "human": at_density(usual, "human")}.items():
        truth = pl.read_parquet(simulate(tmp_path / name, config).truth)
        tss = truth.filter(pl.col("element") == "promoter")["tss"].to_numpy()
        places = np.arange(0, config.contig_length - window_bp, window_bp // 8)
        promoters.append(np.mean([((start <= tss) & (tss < start + window_bp)).sum() for start in places]))
        acting.append(truth.filter(pl.col("element") == "enhancer").height / config.contig_length * 1e6)
    assert promoters == [pytest.approx(25.1, abs=4), pytest.approx(6.4, abs=1)]
    assert acting == pytest.approx([7.3, 7.3], rel=0.03)
    with pytest.raises(ValueError, match="`density=` is one of human; got 'mouse'"):
        at_density(usual, "mouse")  # type: ignore[arg-type]  # what a caller may do


def test_the_noise_leaves_the_stated_share_of_the_variance(small: Simulation, truth: pl.DataFrame) -> None:
    noise_sd = json.loads(small.description.read_text())["noise_sd"]
    noiseless = truth.filter(pl.col("element") == "promoter")["noiseless_log_expression"].to_numpy()
    assert noiseless.var() / (noiseless.var() + noise_sd**2) == pytest.approx(0.8)
    expression = pl.read_csv(small.targets, separator="\t")["expression"].to_numpy()
    assert expression.min() >= 0
    share = np.corrcoef(np.log1p(expression), noiseless)[0, 1] ** 2
    assert 0.7 < share < 0.9  # 120 genes: 0.8 with a standard error of about 0.03


def test_tables_speak_of_the_same_genes(small: Simulation, truth: pl.DataFrame) -> None:
    genes = pl.read_csv(small.genes, separator="\t")
    assert genes.columns == ["gene_id", "symbol", "contig", "strand", "tss", "biotype"]
    assert genes["gene_id"].n_unique() == SMALL.n_genes
    promoters = truth.filter(pl.col("element") == "promoter")
    columns = ["gene_id", "contig", "strand", "tss"]
    assert genes.select(columns).equals(promoters.select(columns))
    for path in (small.targets, small.annotations):
        assert pl.read_csv(path, separator="\t")["gene_id"].to_list() == genes["gene_id"].to_list()


def test_annotations_word_the_class_rightly_in_most_genes_only(small: Simulation, truth: pl.DataFrame) -> None:
    annotations = pl.read_csv(small.annotations, separator="\t", infer_schema=False)
    assert annotations.columns == [
        "gene_id",
        "ncbi_gene_id",
        "symbol",
        "name",
        "aliases",
        "designations",
        "summary",
    ]
    is_a = truth.filter(pl.col("element") == "promoter")["class"] == "A"
    right = (annotations["name"].str.contains("housekeeping-like") == is_a).mean()
    assert isinstance(right, float)
    assert 0.68 < right < 0.92  # 120 genes: 0.8 +- 3 standard errors
    assert 0 < annotations["summary"].null_count() < SMALL.n_genes / 2
    assert annotations["summary"].drop_nulls().str.contains("made up").all()


def test_the_motif_extractor_sees_planted_enhancers(contigs: dict[str, str], truth: pl.DataFrame) -> None:
    extractor = MotifExtractor(bin_size=1000)
    names = [channel.name for channel in extractor.channels["motif"]]

    def values_at(starts: list[tuple[str, int]]) -> dict[str, float]:
        bases = [list(contigs[contig][start : start + 1000].encode()) for contig, start in starts]
        mean = extractor(np.array(bases, dtype=np.uint8))["motif"].mean(axis=0)
        return dict(zip(names, mean.tolist(), strict=True))

    rng = np.random.default_rng(0)
    background = values_at([("sim1", int(start)) for start in rng.integers(SMALL.leading_n, 1_499_000, 1000)])
    for kind, planted in DISTAL.items():
        enhancers = [e for e in of_kind(truth, "enhancer") if e["class"] == kind]
        seen = values_at([(e["contig"], e["start"]) for e in enhancers])
        sites = sum(len(e["sites"]) for e in enhancers) / len(enhancers)
        # Every planted site once, and a few by chance.
        assert sites - 1e-4 < sum(seen[motif] for motif in planted) < 1.1 * sites
        other = DISTAL["B" if kind == "A" else "A"]
        for motif in planted:
            assert seen[motif] > 10 * background[motif]
        for motif in other:
            assert seen[motif] < 1


@pytest.mark.parametrize(
    ("change", "mend"),
    [
        pytest.param({"n_contigs": 0}, "n_contigs is at least 1; got 0", id="no contigs"),
        pytest.param({"n_genes": 0}, "n_genes is at least 1", id="no genes"),
        pytest.param({"enhancers_per_mbp": -1.0}, "enhancers_per_mbp is at least 0", id="negative density"),
        pytest.param({"class_a_share": 1.2}, r"class_a_share lies in \[0, 1\]", id="a share above 1"),
        pytest.param({"noiseless_share": 0.0}, "1 meaning no noise", id="nothing but noise"),
        pytest.param({"min_distance": 9, "max_distance": 8}, "0 <= min <= max", id="distances the wrong way round"),
        pytest.param({"max_promoter_sites": 39}, r"lies in \[1, 38\]", id="more sites than fit a promoter"),
        pytest.param({"max_enhancer_sites": 41}, "<= 40 sites", id="more sites than fit an enhancer"),
        pytest.param({"contig_length": 50_000}, "give contig_length >= [0-9]+, or fewer genes", id="no room"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(change: dict[str, Any], mend: str) -> None:
    with pytest.raises(ValueError, match=mend):
        replace(SMALL, **change)


def test_the_smallest_contig_that_is_named_does_hold_the_elements(tmp_path: Path) -> None:
    tight = SimulationConfig(n_contigs=1, contig_length=12_000, leading_n=1000, n_genes=11, enhancers_per_mbp=0)
    files = simulate(tmp_path, tight)
    tss = pl.read_csv(files.genes, separator="\t")["tss"].to_list()
    assert tss == [1500 + 1000 * index for index in range(11)]


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    path.touch()
    with pytest.raises(NotADirectoryError, match="give a folder"):
        simulate(path, SMALL)


def test_a_full_disk_leaves_the_folder_as_it_was_and_is_named(
    tmp_path: Path,
) -> None:
    kept = simulate(tmp_path / "kept", replace(SMALL, seed=5))
    before = [path.read_bytes() for path in kept]
    with limited_files(1_000_000):
        for folder in (tmp_path / "kept", tmp_path / "new"):
            with pytest.raises(OSError, match=rf"File too large: '{folder}'"):
                simulate(folder, SMALL)
    assert [path.read_bytes() for path in kept] == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["kept", *(path.name for path in kept)])
