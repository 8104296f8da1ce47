"""A tiny store for tests of the loaders, and places on it that are awkward: ends of contigs, both names of one."""

from catalog import Grid

LENGTHS = {"chr1": 1000, "chr2": 77}
GRID = Grid(bin_size=16, offsets=(0, 8))
CONTIGS = ["chr1", "2", "chr1", "chr2", "chr1", "1"]
CENTRES = [3, 76, 999, 0, 500, 321]
STRANDS = ["+", "-", "-", "+", ".", "-"]
