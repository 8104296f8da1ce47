"""Any DNA model of Hugging Face Transformers as an extractor: the hidden states of a layer, pooled to bins."""
