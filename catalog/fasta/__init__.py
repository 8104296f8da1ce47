"""Random access to FASTA files, local or remote, compressed or not.

`catalog.Fasta` is what users take; the modules are its parts.
"""
