"""Xpresso (Agarwal and Shendure, Cell Reports 2020): expression from the sequence of a promoter, as published."""
