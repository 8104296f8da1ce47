"""Build on SLURM, one job a GPU: as many as the queue gives, replaced when their time is over.

    pip install dask-jobqueue
    python slurm.py hg38.store --fasta hg38.fa --extractor sei --set weights=/shared/sei.pth ...

What follows the script's name goes to `featurestore build`. Run it where it may stay for as long as the build takes:
in `tmux` on a login node, or as a job with one CPU. Set the six values below to what your cluster calls them.
"""

import sys

from dask_jobqueue import SLURMCluster

from featurestore.cli.main import main

JOBS = 16
PARTITION = "gpu"
ACCOUNT = None
GPU = "--gres=gpu:1"
CPUS = 8
HOURS = 4

if __name__ == "__main__":
    with SLURMCluster(
        queue=PARTITION,
        account=ACCOUNT,
        walltime=f"{HOURS}:00:00",
        job_extra_directives=[GPU],
        job_cpu=CPUS,
        memory="32GB",
        processes=1,
        cores=1,  # threads of a worker, not CPUs of a job
        # A worker that leaves before SLURM ends it gives its shards back in good order.
        worker_extra_args=[
            *("--resources", "GPU=1", "--memory-limit", "0", "--no-dashboard"),
            *("--lifetime", f"{HOURS * 60 - 15}m", "--lifetime-stagger", "5m"),
        ],
        log_directory="dask-logs",
        scheduler_options={"dashboard_address": ":0"},
    ) as cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=JOBS)
        status = main(["build", *sys.argv[1:], "--scheduler", cluster.scheduler_address])
    sys.exit(status)
