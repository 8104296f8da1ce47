"""Training a model by gradient, from its settings to its best epoch.

Modules are imported by their own names; `model` exports what users need.
"""
