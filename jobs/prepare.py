"""Data into shards, as a Ray job. The options are those of `plcp prepare --help`.

ray job submit --working-dir . -- python jobs/prepare.py DATA --out PREPARED
"""

from plcp.cli import main

if __name__ == "__main__":
    main("prepare")
