"""The encoder from shards without labels, on the cluster's Ray Train workers, as a Ray job; options: `plcp pretrain --help`.

ray job submit --working-dir . -- python jobs/pretrain.py PREPARED --out RUN --set train.workers=8 --set train.gpus_per_worker=1
"""

from plcp.cli import main

if __name__ == "__main__":
    main("pretrain")
