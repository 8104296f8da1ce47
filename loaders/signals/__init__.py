"""Genes with measured signals: sequence and signals of any bin size over the same bases, covariates and targets."""
