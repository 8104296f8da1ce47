"""Xpresso predicts what its authors published, and what its formula says."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from checkout import ROOT
from keras_files import LENGTH, layers, tiny_weights, write_keras
from numpy.typing import NDArray

from builders.extractors.networks.keras_file import KerasFileError
from builders.extractors.xpresso.network import encode, load_xpresso
from builders.extractors.xpresso.promoters import predict_expression, promoter
from catalog import Fasta
from catalog.genes.table import GENE_SCHEMA
from featurestore.cli.main import main
from featurestore.testing import random_sequences, write_fasta

DATA = Path(os.environ.get("FEATURESTORE_SHARED", ROOT.parent / "shared")) / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real inputs at {DATA}; set FEATURESTORE_SHARED")
COMPLEMENT = str.maketrans("ACGTN", "TGCAN")


def convolved(x: NDArray[Any], kernel: NDArray[Any], bias: NDArray[Any]) -> NDArray[Any]:
    """Keras's `same` convolution with ReLU, position by position."""
    width, left = len(kernel), (len(kernel) - 1) // 2
    out = np.zeros((len(x), len(bias)))
    for place in range(len(x)):
        for offset in range(width):
            if 0 <= place + offset - left < len(x):
                out[place] += x[place + offset - left] @ kernel[offset]
    return np.maximum(out + bias, 0)


def pooled(x: NDArray[Any], size: int) -> NDArray[Any]:
    return np.stack([x[first : first + size].max(axis=0) for first in range(0, len(x) - size + 1, size)])


def by_hand(sequence: str) -> float:
    weights = {name: (k.astype(float), b.astype(float)) for name, (k, b) in tiny_weights().items()}
    x = np.array([[base == letter for letter in "ACGT"] for base in sequence], dtype=float)
    x = pooled(convolved(x, *weights["conv1d_1"]), 4)
    x = pooled(convolved(x, *weights["conv1d_2"]), 5)
    hidden = np.concatenate([x.ravel(), np.zeros(2)])
    for name in ("dense_1", "dense_2"):
        hidden = np.maximum(hidden @ weights[name][0] + weights[name][1], 0)
    return float(hidden @ weights["dense_3"][0][:, 0] + weights["dense_3"][1][0])


def test_the_network_is_that_of_the_file_in_plain_numpy(tmp_path: Path) -> None:
    network = load_xpresso(write_keras(tmp_path / "x.h5"))
    rng = np.random.default_rng(1)
    sequences = rng.choice(np.frombuffer(b"ACGTN", dtype=np.uint8), (8, LENGTH))
    found = network(torch.from_numpy(sequences))
    expected = [by_hand(bytes(sequence).decode()) for sequence in sequences]
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


def test_bases_are_encoded_in_either_case_and_anything_else_is_nothing() -> None:
    found = encode(torch.tensor([list(b"AcGtN-")], dtype=torch.uint8))[0].T
    assert found.tolist() == [*np.eye(4).tolist(), [0.0] * 4, [0.0] * 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda made: made.pop(), "no network of Xpresso's form: its layers are InputLayer", id="a layer less"
        ),
        pytest.param(lambda made: made[1]["config"].update(padding="causal"), "padding='causal'", id="other padding"),
        pytest.param(lambda made: made[9]["config"].update(activation="tanh"), "activation='tanh'", id="no ReLU"),
        pytest.param(lambda made: made[2]["config"].update(pool_size=[0], strides=[0]), "pools", id="a pool of none"),
        pytest.param(
            lambda made: made[4]["config"].update(strides=[1]), r"strides \[1\], expected \[5\]", id="strides"
        ),
        pytest.param(
            lambda made: made[0]["config"].update(batch_input_shape=[None, 80, 4]), "do not fit 80 bp", id="longer"
        ),
        pytest.param(
            lambda made: made[0]["config"].update(batch_input_shape=[None, 1 << 40, 4]), "is of shape", id="a terabyte"
        ),
        pytest.param(
            lambda made: made[7]["inbound_nodes"][0].reverse(), "expected the promoter, then", id="the other order"
        ),
    ],
)
def test_another_network_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    made = layers()
    change(made)
    with pytest.raises(KerasFileError, match=message):
        load_xpresso(write_keras(tmp_path / "x.h5", described=made))


def test_weights_of_other_shapes_are_refused(tmp_path: Path) -> None:
    weights = tiny_weights()
    for name, shape in (("conv1d_2", (3, 6, 3)), ("dense_1", (12, 6)), ("dense_3", (2, 2)), ("dense_2", (6, 2, 1))):
        other = weights | {name: (np.ones(shape, np.float32), np.ones(shape[-1], np.float32))}
        with pytest.raises(KerasFileError, match=r"do not fit|has no kernel with a bias"):
            load_xpresso(write_keras(tmp_path / "x.h5", other))


# Genes


@pytest.fixture(scope="module")
def genome(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    sequences = random_sequences({"chr1": 500, "chr2": 90})
    path = tmp_path_factory.mktemp("xpresso") / "genome.fa"
    write_fasta(path, sequences)
    return path, {name: sequence.upper() for name, sequence in sequences.items()}


GENES = pl.DataFrame(
    [
        ("E1", "A", "chr1", "+", 200, None),
        ("E2", "B", "chr1", "-", 200, None),
        ("E3", "C", "chr1", "+", 3, None),
        ("E4", "D", "chr2", "-", 88, None),
        ("E5", "E", "chr2", ".", 50, None),
        ("E6", "F", "chr9", "+", 50, None),
    ],
    schema=GENE_SCHEMA,
    orient="row",
)


def bases_by_hand(text: str, tss: int, strand: str, length: int) -> str:
    upstream, downstream = length * 2 // 3, length - length * 2 // 3
    first, end = (tss - upstream, tss + downstream) if strand == "+" else (tss - downstream, tss + upstream)
    found = "".join(text[place] if 0 <= place < len(text) else "N" for place in range(first, end))
    return found if strand == "+" else found[::-1].translate(COMPLEMENT)


def test_genes_are_predicted_from_two_thirds_upstream_on_their_own_strand(
    genome: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    fasta, texts = genome
    table = predict_expression(write_keras(tmp_path / "x.h5"), fasta, GENES, batch_size=3, device="cpu")
    assert table.schema == {"gene_id": pl.String, "symbol": pl.String, "xpresso": pl.Float32}
    assert table["gene_id"].to_list() == ["E1", "E2", "E3", "E4"], "the others have no strand, or no contig"
    with Fasta(fasta) as opened:
        for (gene_id, _, contig, strand, tss, _), found in zip(GENES.iter_rows(), table["xpresso"], strict=False):
            sequence = bases_by_hand(texts[contig], tss, strand, LENGTH)
            assert bytes(promoter(opened, contig, tss, strand, length=LENGTH)).decode().upper() == sequence, gene_id
            assert found == pytest.approx(by_hand(sequence), rel=1e-5, abs=1e-5)


def test_genes_without_a_strand_leave_nothing_to_predict(genome: tuple[Path, dict[str, str]], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no gene has a strand"):
        predict_expression(write_keras(tmp_path / "x.h5"), genome[0], GENES[4:5])
    with pytest.raises(ValueError, match="`device=` is auto, cpu or cuda"):
        predict_expression(write_keras(tmp_path / "x.h5"), genome[0], GENES, device="tpu")


def test_the_verb_writes_a_table_that_evaluate_scores(
    genome: tuple[Path, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    GENES.write_csv(tmp_path / "genes.tsv", separator="\t")
    (tmp_path / "t.tsv").write_text("gene_id\tvalue\nE1\t1\nE2\t2\nE3\t4\nE4\t3\n")
    argv = ["predict-xpresso", "--weights", f"{write_keras(tmp_path / 'x.h5')}", "--fasta", str(genome[0])]
    for name in ("x.tsv", "x.parquet"):
        assert main([*argv, "--genes", f"{tmp_path}/genes.tsv", "--out", f"{tmp_path}/{name}"]) == 0
        assert "4 genes; Xpresso" in capsys.readouterr().out
        scored = ["--predictions", f"{tmp_path}/{name}", "--targets", f"{tmp_path}/t.tsv", "--draws", "20"]
        assert main(["evaluate", *scored]) == 0
        assert "xpresso" in capsys.readouterr().out
    (tmp_path / "x.h5").write_bytes(b"not HDF5")
    assert main([*argv, "--genes", f"{tmp_path}/genes.tsv", "--out", f"{tmp_path}/no/x.tsv"]) == 2
    assert "is no HDF5 file" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()


@needs_data
def test_the_published_weights_give_the_published_predictions() -> None:
    network = load_xpresso(DATA / "real_weights" / "xpresso_human.h5")
    published = pl.read_csv(DATA / "xpresso_predictions" / "predictions.tsv.gz", separator="\t")
    published = published.rename({name: name.rpartition("/")[2] for name in published.columns})
    regions = DATA / "grch38_regions"
    known = {"chr1": (0, 1_000_000), "chr2": (0, 2_333_275), "chr22": (32_000_000, 32_300_000)}
    errors = []
    for name in ("genome.chr1_chr2_chrM.fa.gz", "chr22.n_padded.hg38.fa.gz"):
        with Fasta(regions / name) as fasta:
            for row in published.filter(pl.col("chr").is_in(list(fasta.lengths))).iter_rows(named=True):
                low, high = known[row["chr"]]
                if low <= row["start"] and row["end"] <= high:
                    tss = row["start"] + 7000 if row["strand"] == "+" else row["end"] - 7000
                    sequence = promoter(fasta, row["chr"], tss, row["strand"])
                    predicted = float(network(torch.from_numpy(sequence[None]))[0])
                    errors.append(abs(predicted - row["expression_pred"]))
    assert len(errors) == 18
    assert max(errors) < 1e-5
