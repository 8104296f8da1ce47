"""NCBI Gene: what a gene is called and known for, from NCBI's files or its web service."""
