"""Attention of a trained model, and ablation of bins.

Modules are imported by their own names; `model` exports what users need.
"""
