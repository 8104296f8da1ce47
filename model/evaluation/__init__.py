"""Scores of predictions, and their tables, figures and pages."""
