"""The whole catalog's forecasts, as a Ray job. The options are those of `plcp score --help`.

ray job submit --working-dir . -- python jobs/score.py MODEL PREPARED --out SCORES
"""

from plcp.cli import main

if __name__ == "__main__":
    main("score")
