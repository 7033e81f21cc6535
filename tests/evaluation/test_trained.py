"""The product's own model through the backtest: trained, exported and run at a past origin."""

from pathlib import Path

import polars as pl
import pytest

from plcp.base import ConfigError
from plcp.data.loader import LoaderConfig
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.evaluation.cases import Cases, Truth, Window
from plcp.evaluation.scoring import score
from plcp.evaluation.trained import Trained
from plcp.model.model import ModelConfig
from plcp.training.engine import EngineConfig
from plcp.training.runs import TrainConfig
from tests.evaluation.conftest import HORIZON, LAUNCH_HORIZON


@pytest.fixture
def options() -> TrainConfig:
    return TrainConfig(
        model=ModelConfig.model_validate({"width": 32, "text": {"width": 32, "vocabulary": 512}, "image": {"width": 32, "layers": 1}}),
        spec=Spec(history_weeks=52, horizon=8),
        loader=LoaderConfig(batch_size=32, validation_weeks=12, min_observed=4),
        engine=EngineConfig(warmup_steps=2),
        workers=1,
        steps=4,
        refit_steps=2,
        validate_every=4,
    )


@pytest.mark.system
def test_all_cases_are_forecast_over_their_weeks_and_a_finished_training_is_not_repeated(
    one_cpu: None, past: Prepared, cases: Cases, truth: Truth, window: Window, options: TrainConfig, tmp_path: Path
) -> None:
    found = Trained(options).forecast(past, cases, 1, tmp_path)
    figures = score(truth, [window], HORIZON, LAUNCH_HORIZON, found)
    assert set(figures["track"]) == {"in_life", "launch", "end_4w", "end_8w", "end_12w", "end", "new_peak_12w", "stage"}
    again = Trained(options).forecast(past, cases, 1, tmp_path)
    assert again.in_life.equals(found.in_life)
    none = Cases(cases.origin, cases.in_life, HORIZON, cases.launches[:0], LAUNCH_HORIZON)
    assert Trained(options).forecast(past, none, 1, tmp_path).launch.equals(pl.DataFrame(schema=found.launch.schema))


def test_a_horizon_beyond_the_models_is_refused(past: Prepared, cases: Cases, options: TrainConfig, tmp_path: Path) -> None:
    short = options.model_copy(update={"spec": Spec(history_weeks=52, horizon=HORIZON - 1)})
    with pytest.raises(ConfigError, match=r"raise train\.spec\.horizon"):
        Trained(short).forecast(past, cases, 1, tmp_path)
