"""What changed between two runs over a catalog, and why: a row per SKU (table DIFF), and what it all comes to.

Runs are read part by part, and of each SKU only a short profile is kept: a million SKUs take some hundred megabytes.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from plcp.base import DataError
from plcp.forecast.runs import MANIFEST, Manifest, PartRecord, Run, latest, published
from plcp.tables import CURVE, DIFF, EMBEDDING, EVENT_TABLE, EVENTS, FORECAST, SKIPPED, STAGE_TABLE, STAGES

SHOWN = 10  # SKUs with the largest changes in units
NOTABLE = 0.2  # change of a probability that is counted
COMPARED = (CURVE, EVENT_TABLE, STAGE_TABLE, EMBEDDING)
STAGE = pl.Enum(STAGES)


@dataclass(frozen=True)
class Compared:
    """One of two runs."""

    run: Run
    manifest: Manifest

    @staticmethod
    def open(path: Path) -> "Compared":
        """The run in this folder, or the one that readers of SCORES see. Raises DataError where there is none, or it is not finished."""
        run = Run(path if path.parent.name == "runs" and path.is_dir() else latest(path))
        manifest = run.manifest()
        if manifest is None:
            raise DataError(f"{run.root}: no {MANIFEST}, so the run is not finished; run the same `plcp score` again")
        return Compared(run, manifest)

    @property
    def horizon(self) -> int:
        """Weeks forecast of each product."""
        rows = {table.name: sum(part.files[table.name].rows for part in self.manifest.parts) for table in (CURVE, STAGE_TABLE)}
        return rows[CURVE.name] // max(1, rows[STAGE_TABLE.name])

    def about(self) -> dict[str, Any]:
        m = self.manifest
        source = {"model": m.source.model, "prepared": m.source.prepared, "origin": m.source.origin.isoformat()}
        return {"run": m.run_id, **source, "skus": m.skus, "skipped": m.skipped}


@dataclass(frozen=True)
class Diff:
    """Table DIFF of two runs, SKUs ascending, and what it comes to, ready for JSON."""

    frame: pl.DataFrame
    summary: dict[str, Any]


def pair(before: Path, after: Path | None) -> tuple[Compared, Compared]:
    """The runs of two folders, or the last two published in one SCORES. Raises DataError where there are no two."""
    if after is not None:
        return Compared.open(before), Compared.open(after)
    runs = published(before)
    if len(runs) < 2:
        raise DataError(f"{before}: fewer than two runs were published here; name a second SCORES, or a run's folder (SCORES/runs/ID)")
    old, new = (Compared.open(before / "runs" / run) for run in runs[-2:])
    return old, new


def diff(before: Compared, after: Compared) -> Diff:
    """Units are expected ones of the weeks that both runs forecast, so that a later origin alone changes none."""
    first = max(run.manifest.source.origin for run in (before, after))
    until = min(run.manifest.source.origin + dt.timedelta(weeks=run.horizon) for run in (before, after))
    old, new = (profile(run, first, until) for run in (before, after))
    joined = old.join(new, on="sku_id", how="full", suffix="_after", coalesce=True).rename(
        {name: f"{name}_before" for name in old.columns if name != "sku_id"}
    )
    frame = DIFF.conform(judged(joined, causes(before.manifest, after.manifest)).sort("sku_id"))
    about = {"before": before.about(), "after": after.about(), "cause": cause_of_all(before.manifest, after.manifest)}
    window = {"first": first.isoformat(), "weeks": max(0, (until - first).days // 7)}
    return Diff(frame, {**about, "window": window, **totals(frame)})


def profile(side: Compared, first: dt.date, until: dt.date) -> pl.DataFrame:
    """sku_id, part, input, units in [first, until), stage and p_<event> (null where skipped), and a hash of its rows in each table."""
    return pl.concat([part_profile(side.run, record, first, until) for record in side.manifest.parts], rechunk=True)


def part_profile(run: Run, record: PartRecord, first: dt.date, until: dt.date) -> pl.DataFrame:
    frames = {name: read(run, name, record.part) for name in FORECAST}
    weeks = pl.when(pl.col("week").is_between(first, until, closed="left")).then("mean").otherwise(0.0)
    units = frames[CURVE.name].group_by("sku_id").agg(units=weeks.sum())
    stage = frames[STAGE_TABLE.name].select("sku_id", pl.col("stage").cast(STAGE))
    events = frames[EVENT_TABLE.name]
    found = pl.concat([stage, frames[SKIPPED.name].select("sku_id")], how="diagonal").join(units, on="sku_id", how="left")
    for event in EVENTS:
        found = found.join(events.filter(event=event).select("sku_id", pl.col("p_12w").alias(f"p_{event}")), on="sku_id", how="left")
    for table in COMPARED:
        rows = pl.struct(pl.all().exclude("sku_id", "origin")).hash(0)
        hashes = frames[table.name].select("sku_id", rows.alias(table.name)).group_by("sku_id").agg(pl.col(table.name).bitwise_xor())
        found = found.join(hashes, on="sku_id", how="left")
    return found.with_columns(part=pl.lit(record.part, pl.Categorical), input=pl.lit(record.input, pl.Categorical))


def read(run: Run, table: str, part: str) -> pl.DataFrame:
    """Raises DataError naming a file that is not there or cannot be read."""
    path = run.file(table, part)
    try:
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: cannot be read ({error}); run the same `plcp score` again, it mends the run") from error


def judged(joined: pl.DataFrame, shared: list[str]) -> pl.DataFrame:
    """The columns of DIFF; `shared` is what differs between the runs as a whole."""
    was, is_ = pl.col("part_before").is_not_null(), pl.col("part_after").is_not_null()
    told_before, told_after = pl.col("stage_before").is_not_null(), pl.col("stage_after").is_not_null()
    differs = {t.name: pl.col(f"{t.name}_before").ne_missing(pl.col(f"{t.name}_after")) for t in COMPARED}
    change = (
        (pl.when(~was).then(pl.lit("new")).when(~is_).then(pl.lit("gone")).when(told_before & ~told_after).then(pl.lit("skipped")))
        .when(~told_before & told_after)
        .then(pl.lit("resumed"))
        .when(pl.any_horizontal(*differs.values()))
        .then(pl.lit("changed"))
    )
    data = pl.when(pl.col("input_before").cast(pl.String) != pl.col("input_after").cast(pl.String)).then(pl.lit("data"))
    cause = pl.concat_str([data, *map(pl.lit, shared)], separator=" and ", ignore_nulls=True)
    names = [pl.when(differ).then(pl.lit(name)) for name, differ in differs.items()]
    both = was & is_
    return joined.with_columns(
        change=change.otherwise(pl.lit("same")),
        tables=pl.when(both).then(pl.concat_str(names, separator=", ", ignore_nulls=True)),
        units_change=pl.col("units_after") - pl.col("units_before"),
    ).with_columns(cause=pl.when(both & (pl.col("change") != "same")).then(cause))


def causes(before: Manifest, after: Manifest) -> list[str]:
    """What differs between two runs beside the data."""
    old, new = before.source, after.source
    return [name for name, differs in {"model": old.model != new.model, "options": old.settings != new.settings}.items() if differs]


def cause_of_all(before: Manifest, after: Manifest) -> str:
    """In words, what two runs were made from."""
    other = causes(before, after)
    same_data = (before.source.prepared, before.source.origin) == (after.source.prepared, after.source.origin)
    if same_data and not other:
        return "the same model with the same data: the same run"
    model = "another model" if "model" in other else "the same model"
    options = ", with other options" if "options" in other else ""
    return f"{model} with {'the same' if same_data else 'other'} data{options}"


def totals(frame: pl.DataFrame) -> dict[str, Any]:
    """What the rows come to."""
    both = frame.filter(pl.col("stage_before").is_not_null() & pl.col("stage_after").is_not_null())
    moved = frame.filter(pl.col("part_before") != pl.col("part_after"))
    turned = both.filter(pl.col("stage_before") != pl.col("stage_after")).group_by("stage_before", "stage_after").len("skus")
    largest = both.filter(pl.col("units_change") != 0).sort(pl.col("units_change").abs(), "sku_id", descending=[True, False]).head(SHOWN)
    return {
        "skus": {**dict.fromkeys(DIFF["change"].choices, 0), **counted(frame, "change"), "moved": len(moved)},
        "causes": counted(frame.drop_nulls("cause"), "cause"),
        "tables": {t.name: int(both["tables"].str.split(", ").list.contains(t.name).sum()) for t in COMPARED},
        "units": {side: float(both[f"units_{side}"].sum()) for side in ("before", "after")},
        "stages": turned.sort("skus", "stage_before", "stage_after", descending=[True, False, False]).to_dicts(),
        "events": list(event_changes(both)),
        "largest": largest.select(
            "sku_id", "units_before", "units_after", "units_change", "stage_before", "stage_after", "cause"
        ).to_dicts(),
    }


def counted(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.group_by(column).len().sort(column).iter_rows())


def event_changes(both: pl.DataFrame) -> Iterator[dict[str, Any]]:
    """Of each event's probability within 12 weeks: its mean before and after, and how many SKUs changed by NOTABLE or more."""
    for event in EVENTS:
        old, new = both[f"p_{event}_before"], both[f"p_{event}_after"]
        means = {"mean_before": old.mean(), "mean_after": new.mean()}
        yield {"event": event, **means, f"changed by {NOTABLE} or more": int(((new - old).abs() >= NOTABLE).sum())}
