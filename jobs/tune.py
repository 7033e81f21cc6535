"""A search over the options of training, on the cluster's Ray Train workers, as a Ray job. The options are those of `plcp tune --help`.

ray job submit --working-dir . -- python jobs/tune.py PREPARED --out RUN --set tune.parallel=4 --set train.gpus_per_worker=1
"""

from plcp.cli import main

if __name__ == "__main__":
    main("tune")
