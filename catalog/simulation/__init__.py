"""A genome whose rules of expression are known, for demonstrations and tests."""
