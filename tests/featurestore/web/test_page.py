"""`featurestore explorer`, and what the page finds in `explorer.json`."""

import gzip
import hashlib
import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from checkout import ROOT
from overlay_stores import SPELLED, build_overlay_in_process, spelled_store, write_vcf
from served import client_of

from builders.overlays.request import OverlayRequest
from catalog import Grid
from featurestore.cli.main import main
from featurestore.format.manifest import (
    EXPLORER,
    MANIFEST,
    PAGE,
    PAGE_GENES,
    PAGE_MODELS,
    PAGE_STATUS,
    SealedObject,
    unseal,
)
from featurestore.format.metadata import DIGEST, signed
from featurestore.store import Store, open_store
from featurestore.testing.fixtures import built_store, random_sequences, write_fasta
from featurestore.upkeep.seal import seal
from featurestore.upkeep.verify import verify
from featurestore.web import NotExplorable, publish_explorer


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return built_store(tmp_path / "store", {"chr1": 100, "chr2": 40}, Grid(bin_size=8, offsets=(0, 4)), name="motif")


def document(store: Store) -> dict[str, object]:
    found: dict[str, object] = json.loads(store.objects.get(EXPLORER))
    return found


def test_sealing_describes_every_set_and_contig_with_the_rows_that_are_built(store: Store) -> None:
    top_hash = seal(store).manifest.top_hash
    described = document(store)
    (found,) = described["sets"]  # type: ignore[misc, attr-defined]
    assert (described["top_hash"], described["complete"]) == (top_hash, True)
    assert found["channels"] == list(store["motif"].channel_names)
    assert [(one["name"], one["built"]) for one in found["contigs"]] == [
        ("chr1", [[[0, 13]], [[0, 13]]]),
        ("chr2", [[[0, 5]], [[0, 6]]]),
    ]


def test_rows_of_shards_without_record_are_not_described_as_built(store: Store) -> None:
    for key in ("commits/motif/chr1/0-1.json", "features/motif/chr1/values/c/0/1/0"):
        store.objects.delete(key)
    seal(store, partial=True)
    (found,) = document(store)["sets"]  # type: ignore[misc, attr-defined]
    assert found["contigs"][0]["built"] == [[[0, 4], [8, 13]], [[0, 13]]]
    assert document(store)["complete"] is False


def test_the_pad_row_is_described_exactly(store: Store) -> None:
    seal(store)
    (found,) = document(store)["sets"]  # type: ignore[misc, attr-defined]
    outside = store["motif"].window("chr2", 0, n_bins=9).values[0]
    np.testing.assert_array_equal(np.asarray(found["pad"], outside.dtype), outside)


def test_an_overlay_is_described_with_how_many_bins_differ_and_whether_all_are_there(tmp_path: Path) -> None:
    pytest.importorskip("cyvcf2")
    sequences = random_sequences({"chr1": 600})
    fasta = write_fasta(tmp_path / "g.fa", sequences)
    url = spelled_store(str(tmp_path / "store"), fasta).url
    other = "A" if sequences["chr1"][299] != "A" else "C"
    vcf = write_vcf(tmp_path / "s.vcf", [f"chr1 300 {sequences['chr1'][299]} {other} 1|0"])
    request = OverlayRequest(feature_set="spelled", vcf=vcf, fasta=str(fasta), extractor=SPELLED)
    for shards, is_complete in ((0, False), (None, True)):
        open_store(url).unseal()  # as a build does
        plan = build_overlay_in_process(url, request, most_shards=shards)
        seal(open_store(url), partial=True)
        ((overlay,),) = (one["overlays"] for one in document(open_store(url))["sets"])  # type: ignore[attr-defined]
        path = "overlays/spelled/S+1/chr1"
        on = {"name": "chr1", "path": path, "rows": [plan.n_touched], "complete": is_complete}
        assert overlay == {"name": "S/1", "contigs": [on]}


def without_overlays(store: Store) -> None:
    """Make a sealed store look as one of a version that listed no overlays."""
    found = document(store)
    sets = [{name: one[name] for name in one if name != "overlays"} for one in found["sets"]]  # type: ignore[attr-defined]
    old = json.dumps(signed({**{name: found[name] for name in found if name != DIGEST}, "sets": sets})).encode()
    manifest = store.manifest()
    assert manifest is not None
    sealed = {EXPLORER: SealedObject(len(old), hashlib.sha256(old).hexdigest())}
    store.objects.put(EXPLORER, old)
    store.objects.put(MANIFEST, manifest.model_copy(update={"objects": manifest.objects | sealed}).to_json())


def test_sealing_anew_lists_the_overlays_of_a_store_that_an_earlier_version_sealed(store: Store) -> None:
    made = seal(store).manifest
    now = document(store)
    without_overlays(store)
    again = seal(open_store(store.url))
    assert (again.was_sealed, again.manifest.top_hash) == (False, made.top_hash)
    assert document(store) == now
    assert verify(store, crc=True).is_sound
    assert seal(open_store(store.url)).was_sealed


def test_unsealing_takes_the_description_away(store: Store) -> None:
    seal(store)
    unseal(store.objects)
    with pytest.raises(FileNotFoundError):
        store.objects.get(EXPLORER)


def test_the_command_puts_page_and_genes_beside_a_sealed_store_which_stays_sound(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seal(store)
    table = tmp_path / "genes.tsv"
    table.write_text("gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tMYC\t1\t+\t50\nG2\tNONE\tchr9\t-\t5\n")
    assert main(["explorer", store.url, "--genes", str(table)]) == 0
    assert "1 genes" in capsys.readouterr().out
    assert json.loads(store.objects.get(PAGE_GENES)) == [["MYC", "G1", "chr1", 50, "+"]]
    assert store.objects.get(PAGE) == files("featurestore.web").joinpath("static", PAGE).read_bytes()
    found = verify(store, crc=True)
    assert found.is_sound
    assert found.strangers == []


def test_synonyms_stand_beside_the_genes_that_have_them(store: Store, tmp_path: Path) -> None:
    seal(store)
    genes, annotations = tmp_path / "genes.tsv", tmp_path / "annotations.tsv"
    genes.write_text("gene_id\tsymbol\tcontig\tstrand\ttss\nENSG1\tMYC\tchr1\t+\t50\nENSG2\tNONE\tchr1\t-\t5\n")
    head = "gene_id\tncbi_gene_id\tsymbol\tname\taliases\tdesignations\tsummary"
    annotations.write_text(f"{head}\nENSG1\t4609\tMYC\tMYC proto-oncogene\tbHLHe39|c-Myc\t\t\nENSG2\t1\tNONE\t\t\t\t\n")
    assert main(["explorer", store.url, "--genes", str(genes), "--annotations", str(annotations)]) == 0
    rows = [["MYC", "ENSG1", "chr1", 50, "+", ["bHLHe39", "c-Myc"]], ["NONE", "ENSG2", "chr1", 5, "-"]]
    assert json.loads(store.objects.get(PAGE_GENES)) == rows
    with pytest.raises(ValueError, match="give `genes=` with them"):
        publish_explorer(store, annotations=annotations)
    with client_of(store) as client:  # a server knows them too
        assert client.get("/stores/a/explorer_genes.json").json() == rows
        assert [one["symbol"] for one in client.get("/v1/genes?q=c-my").json()] == ["MYC"]
        assert client.get("/v1/window?gene=c-Myc&bins=3").json()["gene"]["gene_id"] == "ENSG1"


def test_an_annotation_gives_the_page_gene_models_which_another_table_takes_away(store: Store, tmp_path: Path) -> None:
    seal(store)
    rows = [("gene", 11, 60), ("exon", 11, 20), ("exon", 31, 60), ("CDS", 15, 20), ("exon", 500, 600)]
    gtf = tmp_path / "genes.gtf"
    gtf.write_text("".join(f'1\tx\t{kind}\t{start}\t{end}\t.\t-\t.\tgene_id "G1";\n' for kind, start, end in rows))
    assert publish_explorer(store, genes=gtf).genes == 1
    key = f"{PAGE_MODELS}/chr1.json"
    assert json.loads(store.objects.get(key)) == [["G1", "-", 10, 60, [0, 10, 20, 50], [4, 10]]]
    assert verify(store, crc=True).strangers == []
    (tmp_path / "genes.tsv").write_text("gene_id\tsymbol\tcontig\tstrand\ttss\nG1\tMYC\t1\t+\t50\n")
    publish_explorer(store, genes=tmp_path / "genes.tsv")
    with pytest.raises(FileNotFoundError):
        store.objects.get(key)


def test_a_build_is_watched_until_it_is_complete(
    store: Store, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "commits/motif/chr1/0-1.json"
    record = store.objects.get(key)
    store.objects.delete(key)
    seen: list[object] = []

    def build_the_rest(seconds: float) -> None:
        seen.append((seconds, json.loads(store.objects.get(PAGE_STATUS))["complete"]))
        store.objects.put(key, record)

    monkeypatch.setattr("featurestore.cli.upkeep.time.sleep", build_the_rest)
    assert main(["explorer", store.url, "--watch", "7"]) == 0
    assert seen == [(7, False)]
    assert json.loads(store.objects.get(PAGE_STATUS))["complete"] is True
    printed = capsys.readouterr().out
    assert "11 of 12 shards, 0 failed" in printed
    assert f"featurestore seal {store.url}" in printed
    assert seal(store).manifest.complete
    assert verify(store, crc=True).strangers == []


def test_a_store_that_is_not_sealed_is_refused_with_the_command_that_helps(store: Store) -> None:
    with pytest.raises(NotExplorable, match=f"featurestore seal {store.url}"):
        publish_explorer(store)


def test_a_page_of_another_hand_is_left_alone(store: Store) -> None:
    seal(store)
    store.objects.put(PAGE, b"<h1>ours</h1>")
    with pytest.raises(NotExplorable, match="another name"):
        publish_explorer(store)
    assert store.objects.get(PAGE) == b"<h1>ours</h1>"


def test_the_page_weighs_less_than_150_kb_and_loads_nothing_from_elsewhere() -> None:
    page = files("featurestore.web").joinpath("static", PAGE).read_bytes()
    assert len(gzip.compress(page)) < 150_000
    for forbidden in (b"<link", b"<img", b"https://cdn", b"innerHTML", b"eval("):
        assert forbidden not in page


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "web/node_modules").exists(), reason="`npm ci` in web/ needs node"
)
def test_the_page_is_what_its_source_builds(tmp_path: Path) -> None:
    built = tmp_path / PAGE
    subprocess.run(["node", "build.mjs", str(built)], cwd=ROOT / "web", check=True, capture_output=True)
    assert built.read_bytes() == files("featurestore.web").joinpath("static", PAGE).read_bytes()
