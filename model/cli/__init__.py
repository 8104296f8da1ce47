"""The verbs that train, use and explain models."""
