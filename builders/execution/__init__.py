"""Carrying a build out: tasks, the three-stage pipeline of a worker, the cluster, and going over the shards."""
