"""The frozen language model: loading, running, adapters, the KV cache of prompts.

Modules are imported by their own names; `model` exports what users need.
"""
