import datetime as dt
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from plcp.base import ConfigError, ModelError
from plcp.data import asof
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.evaluation import refresh as module
from plcp.evaluation.refresh import Decision, RefreshConfig, judge, live_model, loss_of, refresh, what_came
from plcp.forecast import artifact
from plcp.tables import QUANTILES
from plcp.training.pretrained import start_of
from plcp.training.runs import TrainConfig
from tests.conftest import little_shop
from tests.forecast.shop import tiny_artifact

FIRST = dt.date(2023, 3, 6)
CONFIG = RefreshConfig(steps=4, refit_steps=0, weeks=6)
TRAINING = TrainConfig.model_validate(
    {"workers": 1, "validate_every": 2, "loader": {"batch_size": 16, "validation_weeks": 8}, "engine": {"warmup_steps": 1}}
)


def judged(change: np.ndarray, margin: float = 0.01) -> Decision:
    """A new model whose loss of each product differs from the old one's by a share."""
    old = np.random.default_rng(1).lognormal(1, 1, len(change))
    return judge("old", "new", old, old * (1 + change), old * 3, FIRST, RefreshConfig(margin=margin))


def test_a_new_model_goes_live_only_where_it_is_surely_not_worse() -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, 2000)
    assert judged(noise - 0.05).accepted
    assert not judged(noise + 0.05).accepted
    unsure = judged(np.random.default_rng(0).normal(0.008, 0.8, 2000))
    assert not unsure.accepted, "not worse by the mean, and yet it may well be"
    assert unsure.change is not None
    assert unsure.change < 0.05
    assert judged(np.zeros(2000), margin=0).accepted, "the same model is not worse"


def test_the_interval_holds_the_true_change_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(400):
        old = rng.lognormal(0, 0.7, 300)
        found = judge("a", "b", old, old * rng.normal(1.03, 0.3, 300), old, FIRST, RefreshConfig()).interval
        assert found
        hits += found[0] <= 0.03 <= found[1]
    assert 0.92 <= hits / 400 <= 0.98


def test_few_products_tell_nothing() -> None:
    decision = judged(np.full(20, -0.5))
    assert not decision.accepted
    assert "20 products are too few" in decision.reason


def test_a_products_loss_is_that_of_its_own_weeks() -> None:
    curve = pl.DataFrame({"sku_id": ["b"] * 3 + ["a"] * 3, **{q: [2.0, 2, 9, 5, 5, 9] for q in QUANTILES}})
    sold = np.array([[5.0, 5.0], [2.0, np.nan]])
    assert loss_of(curve, pl.Series("sku_id", ["a", "b"]), sold).tolist() == [0, 0]
    assert loss_of(curve, pl.Series("sku_id", ["a", "b"]), sold + 1).tolist() == pytest.approx([2 * 0.5 * 2, 2 * 0.5])


@pytest.fixture(scope="module")
def shop() -> Dataset:
    return Dataset.of(little_shop(60, weeks=90))


@pytest.fixture(scope="module")
def whole(shop: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare(shop, tmp_path_factory.mktemp("whole") / "P", PrepareConfig(skus_per_shard=30))


def test_products_are_judged_on_the_weeks_that_were_kept_back(whole: Prepared) -> None:
    skus = whole.read(0).sku_id
    came = what_came(whole, skus, 6)
    assert set(came["sku_id"]) < set(skus), "those that sold nothing lately are no longer in life"
    one = came["sku_id"][0]
    assert came["units"][0].to_list() == whole.read(0).units[skus.index(one), -6:].tolist()


def old_model(folder: Path, shop: Dataset, weeks_ago: int, whole: Prepared) -> Path:
    past = asof.cut(shop, whole.origin - dt.timedelta(weeks=weeks_ago))
    return tiny_artifact(folder / "model", prepare(past, folder / "past", PrepareConfig(skus_per_shard=30)))


def test_a_model_that_saw_the_weeks_to_be_judged_is_left_alone(shop: Dataset, whole: Prepared, tmp_path: Path) -> None:
    model = old_model(tmp_path, shop, 3, whole)
    decision = refresh(model, shop, whole, tmp_path / "refresh", CONFIG, TRAINING)
    assert not decision.accepted
    assert decision.new is None
    assert "14 weeks that it has not seen, 8 to validate a new one and 6 to judge both" in decision.reason
    assert live_model(tmp_path / "refresh", model, whole.origin) == model


def test_what_was_made_live_counts_only_for_the_model_it_began_with(shop: Dataset, whole: Prepared, tmp_path: Path) -> None:
    one, other = tiny_artifact(tmp_path / "one", whole), tiny_artifact(tmp_path / "other", whole, seed=1)
    tiny_artifact(tmp_path / "refresh" / "x" / "model", whole)
    live = {"model": "x/model", "began_with": artifact.digest(one)}
    (tmp_path / "refresh" / "LIVE.json").write_text(json.dumps(live))
    assert live_model(tmp_path / "refresh", one, whole.origin) == tmp_path / "refresh" / "x" / "model"
    assert live_model(tmp_path / "refresh", other, whole.origin) == other
    assert live_model(tmp_path / "refresh", one, whole.origin - dt.timedelta(weeks=1)) == one, (
        "an earlier week is not forecast from later ones"
    )


def test_more_weeks_than_the_model_forecasts_are_no_judgement(shop: Dataset, whole: Prepared, tmp_path: Path) -> None:
    model = old_model(tmp_path, shop, 30, whole)
    with pytest.raises(ConfigError, match=r"refresh\.weeks 52"):
        refresh(model, shop, whole, tmp_path / "refresh", RefreshConfig(weeks=52), TRAINING)


def test_a_model_from_the_weeks_that_validate_is_no_beginning(shop: Dataset, whole: Prepared, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"learned from weeks up to .* are to validate"):
        start_of(old_model(tmp_path, shop, 7, whole), whole, TRAINING.fitted(whole))
    start_of(old_model(tmp_path / "older", shop, 8, whole), whole, TRAINING.fitted(whole))


@pytest.mark.system
@pytest.mark.usefixtures("one_cpu")
def test_a_refresh_learns_on_decides_once_and_survives_a_kill(
    shop: Dataset, whole: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, out = old_model(tmp_path, shop, 20, whole), tmp_path / "refresh"
    generous = CONFIG.model_copy(update={"margin": 1e6})
    with monkeypatch.context() as patched:
        patched.setattr(module, "export", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            refresh(model, shop, whole, out, generous, TRAINING)
    assert live_model(out, model, whole.origin) == model
    decision = refresh(model, shop, whole, out, generous, TRAINING)
    folder = next(out.glob("*/decision.json")).parent
    assert decision.accepted
    assert artifact.read_config(folder / "model").origin == whole.origin - dt.timedelta(weeks=6), "it saw none of the weeks judged"
    assert decision.cases >= 30
    assert decision == refresh(model, shop, whole, out, generous, TRAINING)
    again = refresh(model, shop, whole, out, CONFIG, TRAINING)
    assert (again.accepted, again.new) == (False, None), "what is live now has learned from the weeks that would validate"
    assert live_model(out, model, whole.origin) == folder / "model"
    assert artifact.verify(folder / "model") == decision.new
    (folder / "decision.json").write_text("{")
    with pytest.raises(ModelError, match="damaged"):
        refresh(model, shop, whole, out, generous, TRAINING)
