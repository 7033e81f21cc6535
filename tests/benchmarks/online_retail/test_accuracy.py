from pathlib import Path
from typing import cast

import polars as pl
import pytest

from benchmarks.online_retail.accuracy import Judged, beside, judged
from benchmarks.online_retail.contest import with_tower
from benchmarks.online_retail.judge import Truth
from plcp.training.runs import TrainConfig

NO_TRUTH = cast(Truth, None)


def known(name: str, *values: float) -> Judged:
    """A model whose scores are given, not judged."""
    model = Judged(name, [Path(str(seed)) for seed in range(len(values))], NO_TRUTH)
    vars(model)["scores"] = [{"in_life": {"wql": value}, "stage": {"macro_f1": value}} for value in values]
    return model


def test_the_best_peer_is_the_lowest_in_losses_and_the_highest_in_skill() -> None:
    ours, peers = known("plcp", 0.54, 0.56), [known("theta", 0.7), known("lightgbm", 0.60, 0.55)]
    wql, spread, ahead = beside("in-life wql", ours, peers)
    assert (wql.value, wql.reference, wql.met) == (0.55, 0.575, True)
    assert wql.ratio == pytest.approx(0.9565, abs=1e-4)
    assert spread.value == pytest.approx(0.0141, abs=1e-4)
    assert (ahead.value, ahead.unit) == (2, "of 2")
    f1, _, ahead = beside("stage macro-F1", ours, peers)
    assert (f1.reference, f1.met, ahead.value) == (0.7, False, 0)
    assert f1.target == "above 1.0 of theta's"


def test_a_ratio_that_only_rounding_brings_to_its_target_is_missed() -> None:
    assert beside("in-life wql", known("plcp", 0.96502), [known("lightgbm", 1.0)])[0].met is False


def test_only_seeds_of_the_table_are_judged(tmp_path: Path) -> None:
    """A folder may hold forecasts of an earlier run with other options."""
    rows = [("lightgbm", 1), ("plcp", 2), ("plcp", 1), ("plcp", 1)]
    pl.DataFrame(rows, ["model", "seed"], orient="row").write_parquet(tmp_path / "details.parquet")
    (tmp_path / "plcp" / "seed-3").mkdir(parents=True)
    found = judged(tmp_path, NO_TRUTH)
    assert [path.name for path in found["plcp"].folders] == ["seed-1", "seed-2"]
    assert [*found] == ["plcp", "lightgbm"]


def test_changes_are_laid_over_the_options_that_every_training_shares(tmp_path: Path) -> None:
    plain, other = with_tower(tmp_path), with_tower(tmp_path, {"spec": {"siblings": False}, "model": {"text": None}})
    config = TrainConfig.model_validate(plain)
    assert config.model.text is not None
    assert (config.model.text.source, config.model.text.trainable) == (str(tmp_path), False)
    changed = TrainConfig.model_validate(other)
    assert changed.model.text is None
    assert (changed.spec.siblings, changed.spec.country) == (False, "GB")
