"""A format of gene tables: UCSC's refFlat, a transcript a row.

    featurestore train genome.store --genes refFlat.txt.gz ...

Columns (https://genome.ucsc.edu/goldenPath/gbdDescriptionsOld.html): gene name, transcript, chrom, strand, txStart,
txEnd, cdsStart, cdsEnd, exonCount, exonStarts, exonEnds; 0-based, half-open, no header.
"""

from pathlib import Path

import polars as pl

from catalog.genes.format_plugins import GeneFormat
from catalog.runtime.tables import Opening, frame_of, read_lines, whole_numbers

_COLUMNS = (
    *("gene", "transcript", "contig", "strand", "start", "end"),
    *("cds_start", "cds_end", "exons", "exon_starts", "exon_ends"),
)


def _recognises(opening: Opening) -> bool:
    fields = (opening.first or "").split("\t")
    return len(fields) == len(_COLUMNS) and fields[3] in ("+", "-") and all(field.isdecimal() for field in fields[4:9])


def _read(path: Path) -> pl.DataFrame:
    frame = frame_of(path, list(_COLUMNS), list(read_lines(path)), "\t")
    start, end = (whole_numbers(frame, name, path=path) for name in ("start", "end"))
    return frame.select(
        pl.col("gene").alias("gene_id"),
        pl.col("gene").alias("symbol"),
        "contig",
        "strand",
        pl.select(pl.when(frame["strand"] == "-").then(end - 1).otherwise(start).alias("tss")).to_series(),
    )


REFFLAT = GeneFormat(recognises=_recognises, read=_read)
"""Of the transcripts of a gene the first of the file is kept."""
