"""NCBI Gene: names and functional annotation of genes, from NCBI's files or its web service."""
