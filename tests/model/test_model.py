from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from plcp.model.history import UNITS
from plcp.model.losses import LossConfig, loss
from plcp.model.model import PRESETS, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.model.steps import PLANNED_PRICE, PLANNED_PROMO
from plcp.model.towers import TextTowerConfig
from tests.conftest import photo
from tests.model.batches import inputs, targets, tensors, widths

TITLES = ["red candle", "blue mug", "garden hose"]


@pytest.fixture(scope="module")
def preprocessor() -> Preprocessor:
    config = ModelConfig.model_validate({})
    return Preprocessor.build(config.text, config.image, TITLES)


def build(preprocessor: Preprocessor, seed: int = 0, **given: object) -> LifeCycleModel:
    torch.manual_seed(seed)
    return LifeCycleModel.build(ModelConfig.model_validate(given), widths(inputs()), preprocessor)


def rough(model: LifeCycleModel) -> LifeCycleModel:
    """Layers that start at zero made random, so that outputs depend on every input."""
    for parameter in model.parameters():
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def whole(preprocessor: Preprocessor, cases: int = 8, seed: int = 0) -> dict[str, Tensor]:
    arrays = inputs(cases, seed=seed)
    arrays["image"][2:4] = 0, 1
    return tensors(arrays) | preprocessor.preprocess(TITLES, [photo((9, 9, 99)), photo((200, 0, 0))])


def test_every_output_has_its_shape_and_range(preprocessor: Preprocessor) -> None:
    out = rough(build(preprocessor))(whole(preprocessor))
    shapes = {"quantiles": (8, 26, 9), "mean": (8, 26), "hazard": (8, 3, 27), "stage": (8, 5), "new_peak": (8,), "embedding": (8, 64)}
    assert {name: tuple(out[name].shape) for name in shapes} == shapes
    assert all(torch.isfinite(value).all() for value in out.values())
    assert (out["quantiles"].diff(dim=-1) >= 0).all()
    assert (out["quantiles"] >= 0).all()
    assert (out["mean"] >= 0).all()


def test_a_case_gets_the_same_forecast_whatever_else_is_in_the_batch(preprocessor: Preprocessor) -> None:
    model, batch = rough(build(preprocessor)), whole(preprocessor)
    cases = ("history", "future", "calendar_history", "calendar_future", "age", "numeric", "hashed", "pool", "due", "text", "image")
    alone = {name: value[5:6] if name in cases else value for name, value in batch.items()}
    for name, value in model(alone).items():
        assert torch.allclose(value[0], model(batch)[name][5], rtol=1e-4, atol=1e-5), name


def test_every_weight_learns_even_where_a_batch_has_no_text_and_no_image(preprocessor: Preprocessor) -> None:
    """Else a worker that skips a tower would leave the others waiting for its shard."""
    model = build(preprocessor).train()
    batch = tensors(inputs() | targets()) | preprocessor.preprocess([], [])
    batch["text"][:] = -1
    loss(model(batch), batch, LossConfig())[0].backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_each_modality_moves_the_forecast(preprocessor: Preprocessor) -> None:
    model, batch = rough(build(preprocessor)), whole(preprocessor)
    before = model(batch)["quantiles"]
    changes = {
        "text": torch.full((8,), -1),
        "image": torch.full((8,), -1),
        "numeric": torch.full_like(batch["numeric"], torch.nan),
        "hashed": torch.zeros_like(batch["hashed"]),
        "pool": torch.full_like(batch["pool"], torch.nan),
        "due": torch.full_like(batch["due"], torch.nan),
        "age": torch.full_like(batch["age"], torch.nan),
        "future": torch.full_like(batch["future"], 0.5),
        "calendar_future": torch.zeros_like(batch["calendar_future"]),
        "calendar_history": torch.zeros_like(batch["calendar_history"]),
    }
    for name, value in changes.items():
        assert not torch.equal(model({**batch, name: value})["quantiles"], before), name


def test_in_training_some_cases_lose_last_years_weeks_and_others_what_is_due(preprocessor: Preprocessor) -> None:
    kinds = ("dropout", "life_dropout", "vector_dropout", "modality_dropout", "history_dropout", "week_dropout")
    given: dict[str, Any] = dict.fromkeys(kinds, 0.0)
    model = rough(build(preprocessor, season_dropout=0.5, text=None, image=None, **given))
    batch = tensors(inputs(64))
    young = batch["history"].clone()
    young[:, :-51] = torch.nan
    undue = torch.full_like(batch["due"], torch.nan)
    seen = [(history, due) for history in (batch["history"], young) for due in (batch["due"], undue)]
    answers = torch.stack([model({**batch, "history": history, "due": due})["mean"] for history, due in seen])
    trained = model.train()(batch)["mean"]
    alike = torch.isclose(answers, trained, rtol=1e-4, atol=1e-5).all(2)
    assert alike.any(0).all()
    assert all(10 < kind.sum() < 30 for kind in alike[:, 2:])


def test_bf16_stays_close_to_fp32(preprocessor: Preprocessor) -> None:
    model, batch = rough(build(preprocessor)), whole(preprocessor)
    exact = model(batch)
    short = model.to(torch.bfloat16)(batch)
    assert all(value.dtype == torch.float32 for value in short.values())
    assert torch.allclose(torch.expm1(short["quantiles"]), torch.expm1(exact["quantiles"]), rtol=0.1, atol=0.1)


def test_a_towers_vectors_stand_in_for_tokens_and_pixels(preprocessor: Preprocessor) -> None:
    model, batch = rough(build(preprocessor)), whole(preprocessor)
    assert model.text is not None
    assert model.image is not None
    vectors = {"text_vector": model.text(batch["tokens"], batch["token_mask"]), "image_vector": model.image(batch["pixels"])}
    rest = {name: value for name, value in batch.items() if name not in ("tokens", "token_mask", "pixels")}
    for name, value in model({**rest, **vectors}).items():
        assert torch.allclose(value, model(batch)[name], atol=1e-5)
    nothing = {**rest, "text_vector": torch.zeros(0, 64), "image_vector": torch.zeros(0, 64)}
    nothing |= {"text": torch.full((8,), -1), "image": torch.full((8,), -1)}
    assert torch.isfinite(model(nothing)["mean"]).all()


def test_it_learns(preprocessor: Preprocessor) -> None:
    model = build(preprocessor).train()
    batch = whole(preprocessor, 32) | tensors(targets(32))
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    totals = []
    for _ in range(40):
        optimizer.zero_grad()
        total, _ = loss(model(batch), batch, LossConfig())
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert average(totals[-5:]) < 0.7 * average(totals[:3])


def test_a_feature_never_seen_at_work_says_nothing_when_it_comes(preprocessor: Preprocessor) -> None:
    """A shop in its first year teaches nothing of last year's weeks, nor its spring of the weeks before Christmas."""
    model, batch = build(preprocessor).train(), whole(preprocessor) | tensors(targets())
    batch["calendar_future"][..., 2] = 0
    batch["calendar_history"][..., 2] = 0
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        loss(model(batch), batch, LossConfig())[0].backward()
        optimizer.step()
    before = model.eval()(batch)["quantiles"]
    batch["calendar_future"][..., 2] = 1
    assert torch.equal(model(batch)["quantiles"], before)


def average(values: list[float]) -> float:
    return sum(values) / len(values)


def test_a_restored_model_takes_the_weights_and_says_the_same(preprocessor: Preprocessor, tmp_path: Path) -> None:
    model, batch = rough(build(preprocessor)), whole(preprocessor)
    model.save_towers(tmp_path)
    again = LifeCycleModel.restore(model.config, model.widths, tmp_path).eval()
    again.load_state_dict(model.state_dict())
    assert all(torch.equal(value, again(batch)[name]) for name, value in model(batch).items())


def test_a_model_without_towers_needs_neither_text_nor_image() -> None:
    arrays = tensors(inputs())
    model = build(Preprocessor.build(None, None, []), text=None, image=None)
    out = model({name: value for name, value in arrays.items() if name not in ("text", "image")})
    assert torch.isfinite(out["mean"]).all()


def test_a_frozen_pretrained_tower_keeps_its_weights(minilm: str) -> None:
    config = TextTowerConfig(source=minilm, trainable=False)
    preprocessor = Preprocessor.build(config, None, [])
    model = build(preprocessor, text=config.model_dump(), image=None).train()
    batch = tensors(inputs() | targets()) | preprocessor.preprocess(TITLES, [])
    loss(model(batch), batch, LossConfig())[0].backward()
    assert model.text is not None
    assert not model.text.training
    assert all(p.grad is None for p in model.text.parameters())
    assert all(p.grad is not None for name, p in model.named_parameters() if not name.startswith("text."))


def test_presets_are_whole_and_given_fields_win() -> None:
    for name in PRESETS:
        assert ModelConfig.model_validate({"preset": name}).width == PRESETS[name]["width"]
    config = ModelConfig.model_validate({"preset": "base", "width": 128, "text": {"max_tokens": 16}})
    assert (config.width, config.layers) == (128, 4)
    assert config.text is not None
    assert (config.text.max_tokens, config.text.width) == (16, 256)
    assert ModelConfig.model_validate(config.model_dump()) == config


@pytest.mark.parametrize("given", [{"preset": "huge"}, {"width": 30, "heads": 4}, {"depth": 3}])
def test_a_wrong_configuration_says_what_is_wrong(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match=r"huge|heads|depth"):
        ModelConfig.model_validate(given)


def test_the_response_is_what_plans_add_to_the_median(preprocessor: Preprocessor) -> None:
    model, batch = rough(build(preprocessor)), whole(preprocessor)
    batch["history"][..., UNITS] = 500.0  # far from zero, where quantiles are cut off
    plain = {**batch, "future": torch.full_like(batch["future"], torch.nan)}
    plain["future"][..., PLANNED_PROMO] = 0.0
    planned = {**plain, "future": plain["future"].clone()}
    planned["future"][:, 2, PLANNED_PROMO] = 0.3
    planned["future"][..., PLANNED_PRICE] = 3.0
    priced = {**planned, "future": planned["future"].clone()}
    priced["future"][..., PLANNED_PROMO] = 0.0
    one, other = model(planned), model(priced)
    moved = one["quantiles"][..., 4] - other["quantiles"][..., 4]
    assert moved[:, 2].abs().min() > 1e-4
    assert torch.allclose(one["response"] - other["response"], moved, atol=1e-4)
    assert torch.allclose(model(plain)["response"], torch.zeros(()), atol=1e-6), "nothing is planned"
