"""The KV cache of prompts: keys and values that a frozen causal model computes once and reads in every step.

Modules are imported by their own names; `model` exports what users need.
"""
