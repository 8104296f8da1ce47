"""MPRA-DragoNN (Movva et al., PLoS ONE 2019) as an extractor: regulatory activity in a reporter assay."""
