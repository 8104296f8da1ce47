"""Genes as training examples: windows, prompts and targets that belong together."""

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import featurestore
from catalog import AssemblyMismatch
from catalog.expression.targets import TARGET_SCHEMA
from catalog.genes.table import GENE_SCHEMA
from catalog.ncbi.annotations import ANNOTATION_SCHEMA
from catalog.ncbi.prompts import PromptSettings
from loaders import (
    GeneBatch,
    GeneDataset,
    collate,
    data_loader,
    gene_dataset,
)

GENES = pl.DataFrame(
    [
        ("ENSG1", "AAA", "chr1", "+", 100, "protein_coding"),
        ("ENSG2", "BBB", "2", "-", 40, "protein_coding"),
        ("ENSG3", "CCC", "chr9", "+", 5, None),
        ("ENSG4", "DDD", "chr1", "-", 700, None),
        ("ENSG5", "EEE", "chr1", "+", 999, None),
    ],
    schema=GENE_SCHEMA,
    orient="row",
)
TARGETS = pl.DataFrame(
    [("ENSG4", 4.5), ("ENSG1", 0.0), ("ENSG77", 1.0), ("ENSG2", 2.25), ("ENSG3", 9.0)],
    schema=TARGET_SCHEMA,
    orient="row",
)
ANNOTATIONS = pl.DataFrame(
    [("ENSG1", 1, "AAA", "alpha subunit", None, None, None), (None, 2, "bbb", "beta barrel", None, None, None)],
    schema=ANNOTATION_SCHEMA,
    orient="row",
)


def genes(url: str, **settings: Any) -> GeneDataset:
    arguments: dict[str, Any] = {"annotations": ANNOTATIONS, "targets": TARGETS, "n_bins": 5} | settings
    return gene_dataset(url, "demo", GENES, **arguments)


def test_genes_are_joined_to_windows_targets_and_prompts_in_the_order_of_the_table(url: str) -> None:
    dataset = genes(url)
    assert dataset.gene_ids == ["ENSG1", "ENSG2", "ENSG4"], "on the assembly, and with a target"
    assert len(dataset) == 3
    batch = dataset[[0, 1, 2]]
    read = featurestore.open(url)["demo"].windows(["chr1", "chr2", "chr1"], [100, 40, 700], 5)
    np.testing.assert_array_equal(batch.features.numpy(), read.values.astype(np.float32))
    assert batch.targets.tolist() == [0.0, 2.25, 4.5]
    assert batch.indices.tolist() == [0, 1, 2]
    assert "alpha subunit" in batch.prompts[0]
    assert "beta barrel" in batch.prompts[1]
    assert (dataset.channel_names, dataset.fingerprint) == (("channel0", "channel1", "channel2"), "f0")


@given(st.lists(st.integers(0, 2), min_size=1, max_size=5))
@settings(deadline=None)
def test_genes_come_as_asked_for(url: str, indices: list[int]) -> None:
    dataset = genes(url)
    many = dataset[indices]
    alone = [dataset[index] for index in indices]
    assert torch.equal(many.features, torch.cat([batch.features for batch in alone]))
    assert torch.equal(many.targets, torch.cat([batch.targets for batch in alone]))
    assert many.indices.tolist() == indices
    assert many.prompts == [batch.prompts[0] for batch in alone]


def test_a_plain_dataloader_gives_batches_of_genes(url: str) -> None:
    dataset = genes(url)
    for ours, plain, collated in zip(
        data_loader(dataset, batch_size=2),
        DataLoader(dataset, batch_size=2),
        DataLoader(dataset, batch_size=2, collate_fn=collate),
        strict=True,
    ):
        for other in (plain, collated):
            assert isinstance(other, GeneBatch)
            assert torch.equal(other.features, ours.features)
            assert (other.prompts, other.targets.tolist()) == (ours.prompts, ours.targets.tolist())
            assert torch.equal(other.indices, ours.indices)


def test_batches_of_genes_are_put_together_in_order(url: str) -> None:
    dataset = genes(url)
    together, whole = collate([dataset[[2]], dataset[[0, 1]]]), dataset[[2, 0, 1]]
    assert torch.equal(together.features, whole.features)
    assert (together.prompts, together.targets.tolist()) == (whole.prompts, whole.targets.tolist())


def test_genes_are_jittered_as_their_windows_are_and_not_when_judged(url: str) -> None:
    dataset, still = genes(url, jitter_bp=40), genes(url)
    dataset.set_epoch(3)
    assert dataset.windows.centres_at([0, 1, 2]).tolist() != still.windows.centres.tolist()
    assert torch.equal(dataset.unjittered()[[0, 1, 2]].features, still[[0, 1, 2]].features)


def test_a_gene_loader_gives_every_gene_once_an_epoch(url: str) -> None:
    batches = list(data_loader(genes(url), batch_size=2, shuffle=True))
    assert [len(batch.prompts) for batch in batches] == [2, 1]
    assert sorted(place for batch in batches for place in batch.indices.tolist()) == [0, 1, 2]


def test_without_targets_every_gene_of_the_assembly_is_kept_and_its_target_is_nan(url: str) -> None:
    dataset = genes(url, targets=None)
    assert dataset.gene_ids == ["ENSG1", "ENSG2", "ENSG4", "ENSG5"]
    assert torch.isnan(dataset.targets).all()


def test_without_annotations_a_prompt_still_names_its_gene(url: str) -> None:
    dataset = genes(url, annotations=None)
    assert ["AAA" in dataset.prompts[0], "DDD" in dataset.prompts[2]] == [True, True]


def test_prompts_are_written_anew_for_the_same_genes(url: str) -> None:
    dataset, paper = genes(url), PromptSettings(template="paper", cell_type="K562 cells")
    again = dataset.with_prompts(paper)
    assert again.prompts == genes(url, prompt_settings=paper).prompts
    assert again.prompts[0].split("\n")[:2] == [
        "# Task: Predict the expression of a gene in K562 cells.",
        "# Official Gene Symbol: AAA",
    ]
    assert again.with_prompts(PromptSettings()).prompts == dataset.prompts == genes(url).prompts
    assert again.subset(["ENSG4"]).with_prompts(PromptSettings()).prompts == dataset.subset(["ENSG4"]).prompts
    assert torch.equal(again[[0, 2]].features, dataset[[0, 2]].features)


def test_texts_of_ones_own_are_not_written_anew(url: str) -> None:
    whole = genes(url)
    own = GeneDataset(whole.windows, whole.genes, prompts=["x"] * 3, targets=whole.targets.tolist())
    with pytest.raises(ValueError, match="prompts of their own, not written from annotations; leave the template"):
        own.with_prompts(PromptSettings(template="paper"))
    written = genes(url, prompt_settings=PromptSettings(template="paper"))
    written.prompts = ["x"] * 3
    assert (written.prompts, written.prompt_settings) == (["x"] * 3, None)
    with pytest.raises(ValueError, match="prompts of their own"):
        written.with_prompts(PromptSettings())


def test_the_settings_of_the_windows_reach_them(url: str) -> None:
    dataset = genes(url, orient="gene", channels=["channel1"], residence="stream")
    forward = genes(url)
    turned = dataset[[1, 2]].features
    assert torch.equal(turned, forward[[1, 2]].features[..., [1]].flip(1)), "both lie on the minus strand"
    assert torch.equal(dataset[0].features, forward[0].features[..., [1]])
    dataset.n_bins = 9
    assert dataset[0].features.shape == (1, 9, 1)


def test_a_subset_of_genes_keeps_their_rows_together(url: str) -> None:
    dataset = genes(url)
    chosen = dataset.subset(["ENSG4", "ENSG1", "not there"])
    assert chosen.gene_ids == ["ENSG1", "ENSG4"]
    whole, part = dataset[[0, 2]], chosen[[0, 1]]
    assert torch.equal(part.features, whole.features)
    assert torch.equal(part.targets, whole.targets)
    assert part.prompts == whole.prompts
    assert len(dataset.subset([])) == 0


def test_targets_of_other_genes_are_refused_with_names_of_both(url: str) -> None:
    other = TARGETS.with_columns(gene_id="TSPAN" + pl.col("gene_id").str.slice(4)).sort("gene_id")
    with pytest.raises(ValueError, match="named like ENSG1, targets like TSPAN1; give both the same identifiers"):
        genes(url, targets=other)
    with pytest.raises(ValueError, match="targets like nothing"):
        genes(url, targets=TARGETS.clear())


def test_how_genes_targets_and_annotations_met_is_counted_both_ways(url: str) -> None:
    joined = genes(url).joined
    assert joined is not None
    assert str(joined).splitlines() == [
        "genes: 4 of 5 lie on the store's assembly, 3 are taken",
        "targets: 4 of 5 genes have a target (without: ENSG5); 4 of 5 targets have a gene (without: ENSG77)",
        "annotations: 2 of 3 genes have one",
    ]
    assert json.loads(json.dumps(joined.to_json())) == {
        "genes": 5,
        "on_assembly": 4,
        "kept": 3,
        "genes_with_target": {"total": 5, "found": 4, "without": ["ENSG5"]},
        "targets_with_gene": {"total": 5, "found": 4, "without": ["ENSG77"]},
        "annotated": 2,
        "left_out": "",
    }
    assert genes(url).subset(["ENSG1"]).joined == joined
    assert str(genes(url, targets=None, annotations=None).joined) == (
        "genes: 4 of 5 lie on the store's assembly, 4 are taken"
    )


def test_targets_meet_genes_however_programs_spell_the_ids(url: str) -> None:
    spelled = ["ENST9.1|ENSG4.5|x|", "ENSG1_AAA", "ENSG77", "ENSG2.3_BBB", "ENSG3.1"]
    assert genes(url, targets=TARGETS.with_columns(gene_id=pl.Series(spelled))).targets.tolist() == [0.0, 2.25, 4.5]


def test_a_warning_says_when_most_genes_and_targets_do_not_meet(url: str) -> None:
    other = pl.Series([f"AT{number}" for number in range(4)] + ["ENSG1"])
    with pytest.warns(
        UserWarning, match=r"do not meet: 1 of 5 genes have a target \(without: ENSG2, ENSG3, ENSG4, \.\.\.\)"
    ):
        assert len(genes(url, targets=TARGETS.with_columns(gene_id=other))) == 1
    # A table of few genes, all of which meet, is no cause for one.
    assert len(genes(url, targets=TARGETS.filter(gene_id="ENSG2"))) == 1
    with pytest.warns(UserWarning, match="only 0 of 3 genes have an annotation"):
        genes(url, annotations=ANNOTATIONS.clear())


def test_a_gene_with_two_targets_is_refused(url: str) -> None:
    twice = pl.concat([TARGETS, TARGETS.head(1).with_columns(gene_id=pl.lit("ENSG4.2"))])
    with pytest.raises(ValueError, match="the targets have 1 genes twice: ENSG4; keep one row a gene"):
        genes(url, targets=twice)


def test_genes_of_another_assembly_are_refused(url: str) -> None:
    with pytest.raises(AssemblyMismatch, match=r"no gene lies on tiny.*gene table of that assembly"):
        gene_dataset(url, "demo", GENES.with_columns(contig=pl.lit("chr9")))


def test_parts_of_different_lengths_are_refused(url: str) -> None:
    dataset = genes(url)
    with pytest.raises(ValueError, match="got 3, 3, 1 and 3"):
        GeneDataset(dataset.windows, dataset.genes, prompts=["one"], targets=[0.0, 1.0, 2.0])


def test_tables_of_pandas_work_where_those_of_polars_do(url: str) -> None:
    def as_pandas(frame: pl.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({name: frame[name].to_list() for name in frame.columns})

    tables = {"annotations": as_pandas(ANNOTATIONS), "targets": as_pandas(TARGETS)}
    dataset, same = gene_dataset(url, "demo", as_pandas(GENES), n_bins=5, **tables), genes(url)
    assert dataset.genes.equals(same.genes)
    assert (dataset.prompts, dataset.targets.tolist(), dataset.joined) == (
        same.prompts,
        same.targets.tolist(),
        same.joined,
    )
    assert torch.equal(dataset[[0, 1, 2]].features, same[[0, 1, 2]].features)
    series = GeneDataset(
        same.windows, same.genes, prompts=same.prompts, targets=pd.Series([1.0, 2, 3], index=[9, 7, 5])
    )
    assert series.targets.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="the table lacks the columns gene_id: it has value"):
        genes(url, targets=as_pandas(TARGETS).set_index("gene_id"))
