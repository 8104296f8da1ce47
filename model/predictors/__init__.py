"""One interface to every predictor of expression: build, fit, predict, save, load."""
