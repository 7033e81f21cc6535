"""The model from shards, over all GPUs of the cluster, as a Ray job. The options are those of `plcp train --help`.

ray job submit --working-dir . -- python jobs/train.py PREPARED --out RUN
"""

from plcp.cli import main

if __name__ == "__main__":
    main("train")
