"""What extractors that are networks share: files of weights, encoding, devices, tiles."""
