"""How much each gene is expressed: the targets that a model learns."""
