"""Is a new week like those the model learned from, and did past forecasts come true? A table, a page, and whether a threshold is passed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from plcp.data.contract import ContractConfig, open_dataset
from plcp.data.prepared import MANIFEST, PrepareConfig, Prepared, prepare
from plcp.folders import replacing
from plcp.monitor import page
from plcp.monitor.accuracy import MEASURES, accuracy
from plcp.monitor.config import MonitorConfig
from plcp.monitor.drift import Series, drift

TABLE, PAGE = "findings.parquet", "monitor.html"
FINDINGS = pl.Schema(
    {
        "measure": pl.String(),  # stability, missing, unseen, share; wape, relative_error, bias, calibration_gap
        "of": pl.String(),  # a field of the data, or the products and weeks whose forecasts are judged
        "week": pl.Date(),  # null: all weeks that came
        "value": pl.Float64(),
        "limit": pl.Float64(),  # null: not judged
        "cases": pl.Int64(),  # products on sale, or weeks of products
        "passed": pl.Boolean(),
    }
)


def monitor(new: Prepared, training: Prepared, out: Path, scores: Path | None = None, config: MonitorConfig | None = None) -> pl.DataFrame:
    """FINDINGS, those that passed their limit first; also written to `out`, beside a page that shows them over time.

    Args:
        new: the shop's history up to its newest week.
        training: what the model was trained on; it ends before `new` does.
        scores: published forecasts to hold against what came.
    Raises:
        DataError: no week is new, no run was published, or `out` holds something else.
    """
    config = config or MonitorConfig()
    series = drift(new, training, config)
    judged = accuracy(new, scores, config) if scores else None
    last = new.timeline.date(new.timeline.index(training.origin) + len(series[0].new) - 1)
    rows = [*(_drifted(one, last) for one in series), *(_judged(judged, config) if judged is not None else ())]
    findings = pl.DataFrame(rows, FINDINGS, orient="row").sort("passed", descending=True, maintain_order=True)
    with replacing(out, PAGE) as folder:
        findings.write_parquet(folder / TABLE)
        (folder / PAGE).write_text(page.render(findings, series, training.origin, last), encoding="utf-8")
    return findings


def _drifted(series: Series, week: object) -> tuple:
    return series.measure, series.of, week, series.value, series.limit, series.cases, series.value > series.limit


def _judged(groups: pl.DataFrame, config: MonitorConfig) -> Iterator[tuple]:
    """Each measure of each group; small groups are shown and not judged."""
    for row in groups.iter_rows(named=True):
        for measure in MEASURES:
            limit = getattr(config, measure, None) if row["cases"] >= config.min_cases else None
            value = row[measure]
            passed = limit is not None and value is not None and abs(value) > limit
            yield measure, row["of"], row["week"], value, limit, row["cases"], passed


@contextmanager
def opened(data: Path, contract: ContractConfig, config: PrepareConfig) -> Iterator[Prepared]:
    """PREPARED as it is; data in the contract is prepared for as long as it is looked at. Raises DataError for what is neither."""
    if (data / MANIFEST).exists():
        yield Prepared.open(data)
    else:
        with TemporaryDirectory(prefix="plcp-monitor-") as folder:
            yield prepare(open_dataset(data, contract), Path(folder) / "prepared", config)
