"""Honest figures from the past, as a Ray job. The options are those of `plcp backtest --help`.

ray job submit --working-dir . -- python jobs/backtest.py DATA --origins 2026-03-02 --horizon 12 --launch-horizon 8 --models plcp --out DIR
"""

from plcp.cli import main

if __name__ == "__main__":
    main("backtest")
