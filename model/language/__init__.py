"""The frozen language model: loaded, cut, run, adapted; what it makes of prompts kept.

Modules are imported by their own names; `model` exports what users need.
"""
