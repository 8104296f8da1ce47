"""What a trained model attends to, and what a prediction owes to which bins.

Modules are imported by their own names; `model` exports what users need.
"""
