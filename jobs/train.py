"""The model from shards, on the cluster's Ray Train workers, as a Ray job. The options are those of `plcp train --help`.

ray job submit --working-dir . -- python jobs/train.py PREPARED --out RUN --set train.workers=8 --set train.gpus_per_worker=1

Two workers are used unless train.workers says otherwise. Where GPU nodes come only on demand, train.gpus_per_worker asks for them.
"""

from plcp.cli import main

if __name__ == "__main__":
    main("train")
