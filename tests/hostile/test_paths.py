"""Every path option of every verb, with the paths that people have.

Law: what is read and written lies in the folder that was meant, nothing lies elsewhere, and paths are printed as they
are.
"""

import inspect
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import matplotlib
import polars as pl
import pytest
import typer
from bigwig_files import write_bigwig
from entrez_server import EntrezServer
from format1 import unpack_format1
from hub_server import running_hub
from keras_files import write_keras

from featurestore.cli import main as cli

PLACES = {
    "option": ("store_too", "beside_store", "catalog", "fasta", "backbone"),
    "argument": ("store", "stores", "source", "destination", "a", "b"),
}
"""Parameters that take a URL as well, so that their type is text."""
TABLES = (
    "--genes {}/genes.tsv --targets {}/targets.tsv --annotations {}/annotations.tsv --cache-dir {}/mirror "
    "--medians --samples {}/samples.txt"
)
BUILT = "{}/genome.store --fasta {}/new/genome.fa --extractor motif --device cpu --offsets 0,2048 --shard-bins 64"
MEASURED = "--genes {}/genes.tsv --targets {}/targets.tsv --covariates {}/covariates.tsv"
SIGNALS = f"{MEASURED} --signals motif --sequence none --test-genes {{}}/held_out.txt"
TRAINED = "--prefix-cache {}/prefixes --backbone {}/runs/paper/backbone"


class Use(NamedTuple):
    """One use of a verb."""

    words: str
    """Its arguments; `{}` is the folder."""
    writes: str = ""
    """What it writes into the folder, and names."""
    prints: str = ""
    """What of the folder it names besides."""


READING = {
    "simulate": [Use("{}/new --n-contigs 3 --contig-length 700000 --n-genes 60", "new")],
    "info": [Use("{}/genome.store", prints="genome.store")],
    "status": [Use("{}/genome.store")],
    "verify": [Use("{}/genome.store --recompute 1 --fasta {}/new/genome.fa --device cpu")],
    "repair": [Use("{}/genome.store")],
    "seal": [Use("{}/genome.store")],
    "push": [Use("{}/genome.store me/genome", prints="genome.store")],
    "pull": [Use("me/genome {}/pulled.store", "pulled.store")],
    "explorer": [
        Use("{}/genome.store --genes {}/genes.tsv --annotations {}/new/annotations.tsv", "genome.store/index.html")
    ],
    "serve": [Use("mine={}/genome.store --genes {}/genes.tsv --dry-run", prints="genome.store")],
    "fetch": [Use("--list --out {}/genome.store --json")],
    "copy": [Use("{}/genome.store {}/copied.store", "copied.store")],
    "export": [Use("{}/genome.store --format bedgraph --channels CTCF --out {}/tracks", "tracks")],
    "diff": [Use("{}/genome.store {}/copied.store --out {}/changes.tsv", "changes.tsv", "genome.store")],
    "get": [
        Use("{}/genome.store sim1:300000 --out {}/window.tsv", "window.tsv"),
        Use("{}/genome.store sim1:300000 --out {}/window.npz", "window.npz"),
    ],
    "catalog add": [Use("{}/genome.store --catalog {}/kept/catalog.json --name mine", prints="genome.store")],
    "catalog list": [Use("--catalog {}/kept/catalog.json")],
    "catalog show": [Use("mine --catalog {}/kept/catalog.json", prints="genome.store")],
    "catalog find": [Use("--catalog {}/kept/catalog.json")],
    "catalog remove": [Use("mine --catalog {}/kept/catalog.json")],
    "plan": [Use(BUILT)],
    "build": [Use(BUILT)],
    "build-anchors": [
        Use("{}/genome.store --fasta {}/new/genome.fa --anchors {}/genes.tsv --name tss --n-bins 11 --device cpu")
    ],
    "plan-tracks": [Use("{}/genome.store --fasta {}/new/genome.fa --track mark={}/mark.bw --bin-size 128")],
    "fetch-annotations": [
        Use("{}/ncbi.tsv --cache {}/ncbi --out {}/fetched.tsv --email you@lab.org --base-url URL", "fetched.tsv")
    ],
    "bench-read": [Use("{}/genome.store --n-bins 3 --batches 2 --residence cache --cache-dir {}/mirror")],
    "models": [Use("")],
    "build-overlay": [
        Use("{}/genome.store --feature-set motif --vcf {}/personal.vcf --fasta {}/new/genome.fa --device cpu --dry-run")
    ],
    "delete-overlay": [Use("{}/genome.store --feature-set motif --overlay S/1")],
    "variants": [
        Use(
            "--vcf {}/calls.vcf --fasta {}/new/genome.fa --out {}/scores.parquet --vcf-out {}/scored.vcf.gz "
            "--bin-size 64 --device cpu",
            "scores.parquet",
        )
    ],
    "attribute": [
        Use(
            "--fasta {}/new/genome.fa --region sim1:300001-300020 --channels GC --bin-size 64 --out {}/scored.parquet "
            "--figure {}/logo.png --device cpu",
            "scored.parquet",
            "logo.png",
        ),
        Use("--fasta {}/new/genome.fa --bed {}/some.bed --bin-size 64 --out {}/scored.npz --device cpu", "scored.npz"),
    ],
    "motif-effect": [
        Use(
            "--fasta {}/new/genome.fa --region sim1:300001-300064 --motif TGACTCA --channels GC --bin-size 64 "
            "--backgrounds 30 --out {}/effect.parquet --device cpu",
            "effect.parquet",
        )
    ],
    "predict-xpresso": [
        Use(
            "--weights {}/xpresso.h5 --fasta {}/new/genome.fa --genes {}/genes.tsv --out {}/xpresso.tsv --device cpu",
            "xpresso.tsv",
        )
    ],
}
"""Uses in their order; the store is complete, so that a build starts no worker."""
MODELLING = {
    "train": [
        Use(
            f"{{}}/genome.store {TABLES} {TRAINED} --test-genes {{}}/held_out.txt --model ridge-centre --n-bins 11 "
            "--genes-in {}/genes.tsv,{}/targets.tsv --out {}/runs/ridge-again",
            "runs/ridge-again",
        ),
        Use(
            f"--store {{}}/genome.store {TABLES} --split {{}}/split.json --model ridge-centre --n-bins 11 "
            "--out {}/runs/split",
            "runs/split",
        ),
        Use(f"{{}}/genome.store {SIGNALS} --model prism-ridge --context 4096 --out {{}}/runs/signals", "runs/signals"),
    ],
    "sweep": [
        Use(
            f"{{}}/genome.store {TABLES} {TRAINED} --test-genes {{}}/held_out.txt --models ridge-centre --n-bins 11 "
            "--draws 20 --out {}/swept"
        ),
        Use(
            f"--store {{}}/genome.store {TABLES} --split {{}}/split.json --models ridge-centre --n-bins 11 --draws 20 "
            "--out {}/swept_again"
        ),
        Use(f"{{}}/genome.store {SIGNALS} --models prism-ridge --context 4096 --draws 20 --out {{}}/swept_signals"),
    ],
    "predict": [
        Use(f"{{}}/runs/mlp --store {{}}/genome.store {TABLES} --out {{}}/predicted.parquet", "predicted.parquet"),
        Use(f"{{}}/runs/signals --store {{}}/genome.store {MEASURED} --out {{}}/signals.parquet", "signals.parquet"),
    ],
    "evaluate": [
        Use(
            f"{{}}/runs/mlp --store {{}}/genome.store {TABLES} --beside {{}}/runs/split "
            "--beside-store {}/genome.store --draws 20 --report {}/run.html",
            "run.html",
            prints="runs/split",
        ),
        Use(
            f"{{}}/runs/signals --store {{}}/genome.store {MEASURED} --draws 20 --report {{}}/signals.html",
            "signals.html",
        ),
        Use("--predictions {}/predictions.csv --targets {}/targets.tsv --draws 20"),
        Use("--predictions {}/predicted.parquet --targets {}/targets.parquet --draws 20"),
    ],
    "serve": [
        Use(
            "{}/genome.store --genes {}/genes.tsv --model {}/runs/split --annotations {}/annotations.tsv --device cpu "
            "--dry-run",
            prints="genome.store",
        ),
        Use(
            "{}/genome.store --genes {}/genes.tsv --model {}/runs/signals --covariates {}/covariates.tsv --device cpu "
            "--dry-run",
            prints="genome.store",
        ),
    ],
    "plot": [Use("{}/genome.store sim1:300000 --genes {}/genes.tsv --out {}/window.png --n-bins 11", "window.png")],
}
LONG = {
    "probe": [
        Use(
            "--task {}/task.tsv --fasta {}/new/genome.fa --features kmer:2 --draws 20 --fractions 1 --cache {}/probed "
            "--out {}/probe --device cpu",
            "probe/report.html",
        )
    ],
    "zero-shot": [
        Use("--scores {}/effects.tsv --effects {}/effects.tsv --draws 20 --out {}/zero_shot.tsv", "zero_shot.tsv")
    ],
    "interpret": [Use(f"{{}}/runs/paper --store {{}}/genome.store {TABLES} --draws 20 --out {{}}/figures", "figures")],
    "demo": [Use("--size tiny --out {}/demo --backbone {}/runs/paper/backbone", "demo")],
}
"""Those that take more than a second or two."""
MEASURING = {
    "simulate": READING["simulate"],
    "build-sequence": [Use("{}/genome.store --fasta {}/new/genome.fa --workers 1")],
    "build-tracks": [
        Use("{}/genome.store --fasta {}/new/genome.fa --track mark={}/mark.bw --bin-size 128 --workers 1")
    ],
    "build-track-anchors": [
        Use(
            "{}/genome.store --fasta {}/new/genome.fa --anchors {}/genes.tsv --name near --track mark={}/mark.bw "
            "--feature-set near --bin-size 128 --n-bins 11 --workers 1"
        )
    ],
    "build-viewpoints": [
        Use("{}/genome.store --fasta {}/new/genome.fa --table {}/contacts.tsv --anchors {}/genes.tsv --name seen")
    ],
    "train": [
        Use(
            f"{{}}/genome.store {SIGNALS} --model prism --context 128 --set epochs=1 --set width=8 --set layers=1 "
            "--device cpu --no-baselines --out {}/runs/prism",
            "runs/prism",
        )
    ],
    "interpret": [Use(f"{{}}/runs/prism --store {{}}/genome.store {MEASURED} --draws 20 --out {{}}/gates", "gates")],
}
"""Those of measured signals, which start workers and train; once is enough."""


def merged(*parts: dict[str, list[Use]]) -> dict[str, list[Use]]:
    """Put together uses of the same verb, which comes where it is named last: what it needs is there by then."""
    found: dict[str, list[Use]] = {}
    for part in parts:
        for name, uses in part.items():
            found[name] = [*found.pop(name, []), *uses]
    return found


def verbs(command: Any, *names: str) -> Iterator[tuple[str, Any]]:
    """Give every verb below a command by its name."""
    inner = getattr(command, "commands", {})
    for name, verb in inner.items():
        yield from verbs(verb, *names, name)
    if not inner:
        yield " ".join(names), command


def path_options(verb: Any) -> Iterator[str]:
    """Give the options and arguments of a verb that take paths, as they are typed."""
    function = verb.callback.__wrapped__
    for name, parameter in inspect.signature(function, eval_str=True).parameters.items():
        kind = get_args(parameter.annotation)[0] if get_args(parameter.annotation) else parameter.annotation
        if kind is typer.Context:
            continue
        is_path = kind is Path or Path in get_args(kind)
        (option,) = [item for item in verb.params if item.name == name]
        if (is_path or name in PLACES[option.param_type_name]) and not getattr(option, "hidden", False):
            yield max(option.opts, key=len) if option.param_type_name == "option" else ""


@pytest.fixture(scope="module")
def commands() -> dict[str, Any]:
    cli._add_verbs()
    return dict(verbs(typer.main.get_command(cli.app)))


def test_every_path_option_of_every_verb_is_used_here(commands: dict[str, Any]) -> None:
    uses = merged(READING, MODELLING, LONG, MEASURING)
    used = {name: " ".join(use.words for use in uses.get(name, ())) for name in commands}
    missing = [
        f"{name} {option}"
        for name, verb in commands.items()
        for option in path_options(verb)
        if (f"{option} {{}}" not in used[name] if option else "{}" not in used[name])
    ]
    assert missing == []


class Spelling(NamedTuple):
    """A folder, and what a user types for it."""

    folder: Path
    typed: str


def tilde(top: Path) -> Spelling:
    return Spelling(top / "home" / "plain", "~/plain")


def blanks(top: Path) -> Spelling:
    return Spelling(top / " a  b ", str(top / " a  b "))


def brackets(top: Path) -> Spelling:
    return Spelling(top / "q[" / "h] [old] :dna:", str(top / "q[/h] [old] :dna:"))


def percent(top: Path) -> Spelling:
    return Spelling(top / "a%20b%", str(top / "a%20b%"))


def url(top: Path) -> Spelling:
    return Spelling(top / "a b%20c", f"file://{top}/a%20b%2520c")


def link(top: Path) -> Spelling:
    (top / "link").symlink_to("behind")
    return Spelling(top / "behind", str(top / "link"))


def relative(top: Path) -> Spelling:
    return Spelling(top / "here" / "plain", "plain")


def all_at_once(top: Path) -> Spelling:
    folder = top / "home" / "q[" / "h] [old] :dna: a%20b"
    (top / "here" / "l[i]nk").symlink_to(top / "home" / "q[")
    return Spelling(folder, "l[i]nk/h] [old] :dna: a%20b")


SPELLINGS: tuple[Callable[[Path], Spelling], ...] = (tilde, blanks, brackets, percent, url, link, relative, all_at_once)


@pytest.fixture
def spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Spelling:
    """Put the inputs into a folder of that spelling."""
    for name in ("home", "here"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv(
        "MPLCONFIGDIR", matplotlib.get_cachedir()
    )  # below the home of before: its list of fonts takes 10 s
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    made: Spelling = request.param(tmp_path)
    made.folder.mkdir(parents=True)
    unpack_format1(made.folder)
    (made.folder / "some.bed").write_text("sim1\t300000\t300020\n")
    (made.folder / "ncbi.tsv").write_text("symbol\nSIM1\n")
    rows = [f"sim1\t{300_000 + 30 * place}\t{300_020 + 30 * place}\t{place % 7}\n" for place in range(40)]
    variants = [f"sim1\t{place}\tA\tC\t{place % 5}\t{place % 3}\n" for place in range(9)]
    (made.folder / "effects.tsv").write_text("contig\tposition\tref\talt\teffect\tmotif:l2\n" + "".join(variants))
    (made.folder / "task.tsv").write_text("contig\tstart\tend\tactivity\n" + "".join(rows))
    write_keras(made.folder / "xpresso.h5")
    (made.folder / "calls.vcf").write_text(
        "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\nsim1\t300000\t.\tA\tC,<DEL>\t.\t.\t.\n"
    )
    (made.folder / "personal.vcf").write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=sim1>\n"
        '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS\nsim1\t300000\t.\tA\tC\t.\t.\t.\tGT\t1|1\n"
    )
    write_measured(made.folder)
    (made.folder / "held_out.txt").write_text("".join(f"SIMG0000{number}\n" for number in range(10, 60, 7)))
    run = json.loads((made.folder / "runs" / "mlp" / "run.json").read_text())
    (made.folder / "split.json").write_text(json.dumps(run["split"]))
    targets = pl.read_csv(made.folder / "targets.tsv", separator="\t", glob=False)
    (made.folder / "samples.txt").write_text(f"{targets.columns[1]}\n")
    targets.write_parquet(made.folder / "targets.parquet")
    (made.folder / "predictions.csv").write_text((made.folder / "targets.tsv").read_text().replace("\t", ","))
    return made


def write_measured(folder: Path) -> None:
    """Write a bigWig, covariates and a table of contacts for the genes."""
    genes = pl.read_csv(folder / "genes.tsv", separator="\t", glob=False)
    ids = genes["gene_id"].to_list()
    pl.DataFrame({"gene_id": ids, "gc": [number % 7 for number in range(len(ids))]}).write_csv(
        folder / "covariates.tsv", separator="\t"
    )
    pl.DataFrame({"gene_id": ids} | {f"at{place}": [place] * len(ids) for place in range(3)}).write_csv(
        folder / "contacts.tsv", separator="\t"
    )
    write_bigwig(folder / "mark.bw", {"sim1": 700_000}, {"sim1": [(1000, 2000, 1.5)]})


def use_all(
    uses: dict[str, list[Use]], at: Spelling, top: Path, capsys: pytest.CaptureFixture[str], url: str = ""
) -> None:
    """Use verbs one after the other, and hold them to the law."""
    before = {path for path in top.rglob("*") if at.folder not in path.parents}
    expanded = os.path.abspath(os.path.expanduser(at.typed)) if at.typed[:5] != "file:" else str(at.folder)
    for name, use in ((name, use) for name, of_verb in uses.items() for use in of_verb):
        words = [word.replace("{}", at.typed) for word in use.words.replace("URL", url).split()]
        capsys.readouterr()
        status = cli.main([*name.split(), *words])
        out, err = capsys.readouterr()
        assert status == (1 if name == "diff" and "differ" in out else 0), f"{name}: {err}"
        for part in filter(None, (use.writes, use.prints)):
            assert any(f"{place}/{part}" in out + err for place in (expanded, at.folder)), f"{name}: {out}{err}"
        assert not use.writes or (at.folder / use.writes).exists()
        elsewhere = {path for path in top.rglob("*") if at.folder not in path.parents} - before
        assert elsewhere == set(), name


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")
@pytest.mark.parametrize("spelling", [tilde, all_at_once], indirect=True)
def test_verbs_that_read_and_keep_stores_find_what_was_meant(
    spelling: Spelling, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EntrezServer({}) as server, running_hub():
        use_all(READING, spelling, tmp_path, capsys, server.url)


@pytest.mark.parametrize("spelling", [all_at_once], indirect=True)
def test_verbs_of_models_find_what_was_meant(
    spelling: Spelling, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_all(MODELLING, spelling, tmp_path, capsys)


@pytest.mark.filterwarnings("ignore:Use 'content=<...>' to upload raw:DeprecationWarning")
@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("spelling", SPELLINGS, indirect=True)
def test_all_verbs_find_what_was_meant_however_it_is_spelt(
    spelling: Spelling, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EntrezServer({}) as server, running_hub():
        use_all(merged(READING, MODELLING, LONG), spelling, tmp_path, capsys, server.url)


@pytest.mark.slow
@pytest.mark.parametrize("spelling", [all_at_once], indirect=True)
def test_verbs_of_measured_signals_find_what_was_meant(
    spelling: Spelling, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    use_all(MEASURING, spelling, tmp_path, capsys)
