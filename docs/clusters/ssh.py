"""Build on hosts that SSH reaches with a key, one worker a GPU.

    pip install asyncssh dask-cuda
    python ssh.py hg38.store --fasta hg38.fa --extractor sei --set weights=/shared/sei.pth ...

What follows the script's name goes to `featurestore build`. On hosts with one GPU each, dask-cuda is not needed: take
the worker class `distributed.Nanny` and the resources `{"GPU": 1}`; without GPUs, none.
"""

import sys

from dask.distributed import SSHCluster

from featurestore.cli.main import main

HOSTS = ["node1", "node1", "node2", "node3"]
"""The first has the scheduler, each of the others workers."""

if __name__ == "__main__":
    with SSHCluster(
        HOSTS,
        worker_class="dask_cuda.CUDAWorker",
        worker_options={"nthreads": 1, "memory_limit": 0, "resources": "GPU=1", "dashboard": False},
        # Should this process be killed, what it has started ends by itself.
        scheduler_options={"idle_timeout": "10 minutes"},
        remote_python=sys.executable,
    ) as cluster:
        status = main(["build", *sys.argv[1:], "--scheduler", cluster.scheduler_address])
    sys.exit(status)
