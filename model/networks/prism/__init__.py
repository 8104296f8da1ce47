"""Prism: expression from a sequence and measured signals, with a backdoor adjustment of background states.

Modules are imported by their own names.
"""
