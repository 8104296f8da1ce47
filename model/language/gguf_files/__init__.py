"""Language models in one GGUF file, the format of llama.cpp: weights, often quantised, with the tokenizer.

Belongs here: the file's header, checked before anything reads it, and how Transformers is handed the file. Does not:
what a loaded model does (`model.language.backbone`), models as folders (`model.language.directory`).
"""
