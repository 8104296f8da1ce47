"""Reading a FASTA file by position, wherever it lies and however it is compressed.

`catalog.Fasta` is what users take; the modules are its parts.
"""
