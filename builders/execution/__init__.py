"""Running a build: tasks, the three-stage pipeline of a worker, the cluster, scheduling and retrying shards."""
