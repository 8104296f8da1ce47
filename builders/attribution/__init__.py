"""Attribution: which bases of a region an extractor's output depends on."""
