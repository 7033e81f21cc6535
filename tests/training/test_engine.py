import itertools
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from plcp.training.engine import Engine, EngineConfig, parameter_groups

STAGES = ((0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (3, "bf16"))
pytestmark = pytest.mark.usefixtures("alone")


class Net(nn.Module):
    """Wide enough that ZeRO-3 does not keep all of it whole; its first layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tower = nn.Linear(8, 400)
        self.body = nn.Sequential(nn.GELU(), nn.Linear(400, 400), nn.LayerNorm(400), nn.Linear(400, 1))
        self.tower.requires_grad_(False)

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sum": self.body(self.tower(batch["x"].to(self.tower.weight.dtype))).float()}


def engine(**options: object) -> Engine:
    return Engine(Net(), EngineConfig.model_validate({"weight_decay": 0.0, **options}), micro_batch=16)


def learn(engine: Engine, seed: int, spoil: str = "") -> float:
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(seed))
    error = engine({"x": x})["sum"] - x.sum(1, keepdim=True)
    loss = error.square().mean()
    if spoil == "loss":
        loss = loss * torch.nan
    if spoil == "gradient":
        loss = loss + (error - error.detach()).abs().sqrt().sum()  # zero, with an infinite slope
    engine.backward(loss)
    engine.step(0.01)
    return loss.item()


def whole(engine: Engine) -> dict[str, Tensor]:
    with engine.evaluating():
        return engine.weights()


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("stage", "precision"), STAGES)
def test_a_step_whose_loss_or_gradient_is_not_finite_leaves_weights_and_average_alone(stage: int, precision: str) -> None:
    learner = engine(zero_stage=stage, precision=precision, averaging=0.9)
    learn(learner, 0)
    assert learner.applied
    own, average = learner.weights(), whole(learner)
    for spoil in ("loss", "gradient"):
        learn(learner, 1, spoil)
        assert not learner.applied
        assert equal(own, learner.weights())
        assert equal(average, whole(learner))
    learn(learner, 2)
    assert learner.applied
    assert not equal(own, learner.weights())


@pytest.mark.parametrize(("stage", "precision"), STAGES)
def test_a_loaded_engine_continues_bit_for_bit(stage: int, precision: str, tmp_path: Path) -> None:
    first = engine(zero_stage=stage, precision=precision, averaging=0.9)
    for seed in range(3):
        learn(first, seed)
    first.save(tmp_path)
    after = [learn(first, seed) for seed in range(3, 7)]
    second = engine(zero_stage=stage, precision=precision, averaging=0.9)
    second.load(tmp_path)
    assert [learn(second, seed) for seed in range(3, 7)] == after
    assert equal(whole(first), whole(second))


def test_all_stages_learn_the_same_and_give_whole_weights_of_what_is_learnt() -> None:
    found = []
    for stage in range(4):
        learner = engine(zero_stage=stage)
        losses = [learn(learner, seed) for seed in range(5)]
        found.append((losses, learner.weights()))
    expected = {name for name, p in Net().named_parameters() if p.requires_grad}
    for losses, weights in found:
        assert weights.keys() == expected
        assert losses == pytest.approx(found[0][0], rel=1e-4)
        for name in expected:
            torch.testing.assert_close(weights[name], found[0][1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("stage", [1, 3])
def test_averaged_weights_evaluate_and_the_own_ones_learn_on(stage: int) -> None:
    averaged, plain = engine(zero_stage=stage, averaging=0.9), engine(zero_stage=stage, averaging=0)
    x = torch.ones(4, 8)
    for seed in range(4):
        assert learn(averaged, seed) == learn(plain, seed)
        with averaged.evaluating(), plain.evaluating():
            assert not torch.equal(averaged({"x": x})["sum"], plain({"x": x})["sum"])
        assert equal(averaged.weights(), plain.weights())


def test_accumulated_batches_move_the_weights_as_one_batch_of_all() -> None:
    x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
    parts, one = engine(zero_stage=2, accumulation=2), engine(zero_stage=2)
    for learner, batches in ((parts, x.split(16)), (one, (x,))):
        for batch in batches:
            learner.backward((learner({"x": batch})["sum"] - batch.sum(1, keepdim=True)).square().mean())
            learner.step(0.01)
            assert learner.applied == (batch is batches[-1])
    for name, weight in one.weights().items():
        torch.testing.assert_close(parts.weights()[name], weight, rtol=1e-3, atol=1e-4)


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    free, clipped = engine(zero_stage=1, clipping=0), engine(zero_stage=1, clipping=1e-6)
    before = free.weights()["body.1.weight"]
    for learner in (free, clipped):
        learn(learner, 0)
    moved = [float((learner.weights()["body.1.weight"] - before).abs().max()) for learner in (free, clipped)]
    assert moved[1] < moved[0]


def test_bf16_without_sharded_masters_is_refused() -> None:
    with pytest.raises(ValidationError, match="zero_stage"):
        EngineConfig(zero_stage=0, precision="bf16")


def test_the_learning_rate_warms_up_and_falls_along_a_cosine() -> None:
    config = EngineConfig(learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    rates = [config.rate(step, 0, 110) for step in range(110)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) for k in range(10)])
    assert rates[60] == pytest.approx(0.55)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_norms_and_biases_are_not_decayed_and_slow_parts_learn_slowly() -> None:
    net = Net()
    net.tower.requires_grad_(True)
    groups = parameter_groups(net, 0.5, {"tower": 0.1})
    assert sum(len(group["params"]) for group in groups) == len(list(net.parameters()))
    for group in groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.5 if parameter.ndim > 1 else 0.0)
            assert group["factor"] == (0.1 if any(parameter is p for p in net.tower.parameters()) else 1.0)
