"""What fits are worth: scores of test rows, their tables, and the page."""
