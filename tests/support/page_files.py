"""Single files that pages name, in the formats of the real ones.

Networks are random, with the layers and names of the published ones.
"""

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pybigtools
import torch
from gene_files import Gene
from sei_files import published, rule_state

from builders.extractors.puffin.network import Puffin
from builders.extractors.splice.network import OPEN, SpliceNetwork, Unit


def genes_on(contigs: Sequence[str], *, length: int, genes_per_contig: int) -> list[Gene]:
    places = [(contig, number + 1) for contig in contigs for number in range(genes_per_contig)]
    return [
        Gene(f"ENSG{n:011d}", f"GENE{n}", contig, start, start + 100, "+-"[n % 2], "protein_coding")
        for n, (contig, number) in enumerate(places)
        for start in [number * length // (genes_per_contig + 1)]
    ]


def write_expression(path: Path, genes: Sequence[Gene]) -> None:
    values = np.random.default_rng(0).exponential(size=len(genes))
    pl.DataFrame({"gene_id": [gene.gene_id for gene in genes], "value": values}).write_csv(path, separator="\t")


def write_gene_info(path: Path, genes: Sequence[Gene]) -> None:
    """Write a table as NCBI's `gene_info`."""
    columns = "#tax_id GeneID Symbol LocusTag Synonyms dbXrefs chromosome map_location description type_of_gene"
    columns += " Symbol_from_nomenclature_authority Full_name_from_nomenclature_authority Nomenclature_status"
    columns += " Other_designations Modification_date"
    rows = [
        f"9606\t{number}\t{gene.symbol}\t-\tALIAS{number}\tEnsembl:{gene.gene_id}\t1\t1p1\tprotein {number}"
        f"\tprotein-coding\t{gene.symbol}\tprotein {number}\tO\tfactor {number}\t20150504"
        for number, gene in enumerate(genes, start=1)
    ]
    path.write_bytes(gzip.compress("\n".join(["\t".join(columns.split()), *rows, ""]).encode()))


def write_sei(folder: Path) -> None:
    """Write weights of Sei's layers and the vectors of its classes, over eight profiles."""
    torch.save(published(rule_state(8)), folder / "sei.pth")
    np.save(folder / "projvec_targets.npy", np.random.default_rng(0).normal(size=(61, 8)).astype(np.float32))


def write_bigwig(path: Path, lengths: Mapping[str, int], value: float) -> None:
    file = pybigtools.open(str(path), "w")
    file.write(dict(lengths), ((contig, 1000, 2000, value) for contig in sorted(lengths)))


def write_viewpoints(path: Path, genes: Sequence[Gene]) -> None:
    values = np.random.default_rng(2).exponential(size=(len(genes), 2000))
    values[0, :5] = np.nan
    np.savez(path, genes=np.array([gene.gene_id for gene in genes]), values=values)


def vcf_text(contig: str, rows: Sequence[tuple[int, str, str]]) -> str:
    head = f"##fileformat=VCFv4.2\n##contig=<ID={contig}>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    return head + "".join(f"{contig}\t{position}\t.\t{ref}\t{alt}\t.\t.\t.\n" for position, ref, alt in rows)


def other_base(base: str) -> str:
    return "A" if base != "A" else "C"


def write_puffin(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(Puffin().state_dict(), folder / "puffin.pth")


def write_splice(folder: Path, context: str) -> None:
    """Write weights with the names of OpenSpliceAI's, of a small network that sees as much."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = SpliceNetwork([Unit(5, 1)] * 4, OPEN)
        torch.save(network.state_dict(), folder / f"openspliceai_mane_{context}_rs10.pt")
