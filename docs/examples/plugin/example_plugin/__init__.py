"""One of each kind of thing that genomic-featurestore can be given from outside: copy what you need.

`cpg` is an extractor, `coverage` a source that is not sequence, `refflat` a format of gene tables, `gated_pooling` a
model. `pyproject.toml` registers them, and `tests/` holds them to the conformance kits.
"""
