"""Scores of variants without training, against measured effects."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from featurestore.cli.main import main
from model.evaluation.metrics import pearson, spearman
from model.probes.request import ZeroShotRequest
from model.probes.zero_shot import zero_shot


@pytest.fixture
def request_made(tmp_path: Path) -> ZeroShotRequest:
    rng = np.random.default_rng(0)
    allele = {"contig": ["chr1"] * 40, "position": list(range(40)), "ref": ["A"] * 40, "alt": ["C"] * 40}
    score = rng.normal(size=40)
    pl.DataFrame(allele | {"status": ["scored"] * 40, "hf:cosine": score}).write_parquet(tmp_path / "scores.parquet")
    effects = allele | {"effect": score * np.where(rng.random(40) < 0.5, -1, 1), "element": ["one", "two"] * 20}
    pl.DataFrame(effects).sample(fraction=1, shuffle=True, seed=1).write_csv(tmp_path / "effects.tsv", separator="\t")
    return ZeroShotRequest(
        scores=tmp_path / "scores.parquet", effects=tmp_path / "effects.tsv", out=tmp_path / "out.tsv", draws=20
    )


def test_sizes_are_compared_whatever_their_sign_by_element(request_made: ZeroShotRequest) -> None:
    found = zero_shot(request_made)
    assert found["element"].to_list() == [*found["element"].to_list()[:2], "(mean)"]
    assert found["pearson"].to_list() == pytest.approx([1, 1, 1])
    assert found["variants"].to_list() == [20, 20, 40]
    assert request_made.out.exists()


def test_a_correlation_is_that_of_the_variants_that_both_tables_have(request_made: ZeroShotRequest) -> None:
    effects = pl.read_csv(request_made.effects, separator="\t").with_columns(effect=pl.col("position").cast(pl.Float64))
    effects.head(30).drop("element").write_csv(request_made.effects, separator="\t")
    joined = effects.head(30).join(pl.read_parquet(request_made.scores), on=["contig", "position", "ref", "alt"])
    (row,) = zero_shot(request_made).rows(named=True)
    assert row["pearson"] == pytest.approx(pearson(joined["hf:cosine"].abs(), joined["effect"]))
    assert row["spearman"] == pytest.approx(spearman(joined["hf:cosine"].abs(), joined["effect"]))


def test_tables_without_common_variants_or_columns_are_refused(
    request_made: ZeroShotRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["zero-shot", f"--scores={request_made.scores}", f"--effects={request_made.effects}"]
    words.append(f"--out={request_made.out}")
    assert main([*words, "--effect-column=size"]) == 2
    assert "has no column effect" in capsys.readouterr().err
    effects = pl.read_csv(request_made.effects, separator="\t").with_columns(contig=pl.lit("chr2"))
    effects.write_csv(request_made.effects, separator="\t")
    assert main(words) == 2
    assert "0 variants in common" in capsys.readouterr().err
    assert not request_made.out.exists()
