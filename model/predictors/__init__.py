"""One interface to every predictor of expression: made, fitted, asked, saved."""
