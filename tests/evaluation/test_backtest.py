from pathlib import Path

import polars as pl
import pytest

from plcp.base import ConfigError
from plcp.data.contract import Dataset
from plcp.evaluation.backtest import CONTESTANTS, backtest
from plcp.evaluation.baselines.recent import Recent
from plcp.evaluation.contestant import CURVE_SCHEMA, EVENT_SCHEMA, STAGE_SCHEMA
from plcp.evaluation.judged import IN_SAMPLE
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON, week


def run(shop: Dataset, out: Path, weeks: tuple[int, ...] = (56, 64), **options: object) -> pl.DataFrame:
    given = {"models": ["recent", "seasonal_naive"], "horizon": HORIZON, "launch_horizon": LAUNCH_HORIZON, **options}
    return backtest(shop, [week(at) for at in weeks], out, **given)  # type: ignore[arg-type]


def test_forecasts_lie_in_the_benchmarks_format_and_figures_beside_them(shop: Dataset, tmp_path: Path) -> None:
    table = run(shop, tmp_path, seeds=[1, 2])
    for model in ("recent", "seasonal_naive"):
        for seed in (1, 2):
            folder = tmp_path / model / f"seed-{seed}"
            schemas = {track: pl.read_parquet_schema(folder / f"{track}.parquet") for track in ("in_life", "launch", "events", "stages")}
            assert schemas == {"in_life": CURVE_SCHEMA, "launch": CURVE_SCHEMA, "events": EVENT_SCHEMA, "stages": STAGE_SCHEMA}
            assert set(pl.read_parquet(folder / "in_life.parquet")["origin"]) == {week(56), week(64)}
    assert table["model"].to_list() == ["recent", "seasonal_naive"]
    assert pl.read_parquet(tmp_path / "metrics.parquet").equals(table)
    details = pl.read_parquet(tmp_path / "details.parquet")
    pooled = details.filter(
        pl.col("model") == "recent", pl.col("track") == "in_life", pl.col("metric") == "wql", pl.col("bucket").is_null()
    )
    assert set(pooled["origin"]) == {week(56), week(64), None}
    assert pooled.filter(pl.col("origin").is_null())["value"].mean() == table["in-life wql"][0]


def test_what_is_finished_is_not_made_again(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Counted(Recent):
        def forecast(self, prepared, cases, seed, work):  # type: ignore[no-untyped-def]
            made.append((cases.origin, seed))
            return super().forecast(prepared, cases, seed, work)

    monkeypatch.setitem(CONTESTANTS, "recent", lambda config: Counted())
    first = run(shop, tmp_path, models=["recent"])
    again = run(shop, tmp_path, models=["recent"])
    assert first.equals(again)
    assert made == [(week(56), 1), (week(64), 1)]
    run(shop, tmp_path, models=["recent"], horizon=HORIZON + 1)  # other cases
    assert len(made) == 4


def test_an_origin_that_fails_leaves_the_finished_ones(shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    class Breaks(Recent):
        def forecast(self, prepared, cases, seed, work):  # type: ignore[no-untyped-def]
            made.append(cases.origin)
            if len(made) == 2:
                raise KeyboardInterrupt
            return super().forecast(prepared, cases, seed, work)

    monkeypatch.setitem(CONTESTANTS, "recent", lambda config: Breaks())
    with pytest.raises(KeyboardInterrupt):
        run(shop, tmp_path, models=["recent"])
    assert not (tmp_path / "recent").exists()
    run(shop, tmp_path, models=["recent"])
    assert made == [week(56), week(64), week(64)]


def test_models_and_seeds_finished_earlier_stay_in_the_table_of_the_same_weeks(shop: Dataset, tmp_path: Path) -> None:
    first = run(shop, tmp_path, weeks=(64,), models=["recent"], seeds=[1])
    table = run(shop, tmp_path, weeks=(64,), models=["seasonal_naive"], seeds=[2])
    assert table.select("model", "seeds").rows() == [("seasonal_naive", 1), ("recent", 1)]
    assert table.filter(model="recent").equals(first)
    assert run(shop, tmp_path, weeks=(64,), models=["recent"], seeds=[2]).select("model", "seeds").rows() == [
        ("recent", 2),
        ("seasonal_naive", 1),
    ]
    assert run(shop, tmp_path, models=["recent"])["model"].to_list() == ["recent"]  # other weeks


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ["lightgmb"]}, "unknown model lightgmb: did you mean lightgbm"),
        ({"models": ["oracle9"]}, "there are: plcp, recent"),
        ({"weeks": (400,)}, "lies outside the data"),
        ({"horizon": 80}, "reaches beyond the data"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_written(shop: Dataset, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(shop, tmp_path / "out", **options)
    assert not list(tmp_path.glob("out/*.parquet"))


def test_what_is_forecast_for_a_sample_is_judged_on_it_beside_all_others(
    shop: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CONTESTANTS, "autoarima", lambda config: Recent())
    table = run(shop, tmp_path, weeks=(64,), models=["autoarima", "recent"])
    column = f"wql, {IN_SAMPLE}"
    own, recent = table.rows(named=True)
    assert own["in-life wql"] is None
    assert own["wape"] is None
    assert own["stage F1"] == recent["stage F1"]
    assert own[column] == recent[column] == recent["in-life wql"]  # the sample holds all of this little shop
    details = pl.read_parquet(tmp_path / "details.parquet").filter(model="autoarima", track="in_life")
    assert set(details["bucket"]) == {IN_SAMPLE}
    assert column not in run(shop, tmp_path / "other", weeks=(64,), models=["recent"]).columns
