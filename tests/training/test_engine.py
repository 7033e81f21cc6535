import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from plcp.training.engine import Engine, EngineConfig, load_deepspeed, parameter_groups

STAGES = ((0, "fp32"), (1, "fp32"), (2, "fp32"), (3, "fp32"), (1, "bf16"), (3, "bf16"))
pytestmark = pytest.mark.usefixtures("alone")


class Body(nn.Sequential):
    """Layers that can be computed again, as transformers' models can."""

    how: dict[str, Any] | None = None
    passes = 0

    def gradient_checkpointing_enable(self, how: dict[str, Any]) -> None:
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if self.how is None or not torch.is_grad_enabled():
            return self.pass_through(x)
        return checkpoint(self.pass_through, x.requires_grad_(), **self.how)

    def pass_through(self, x: Tensor) -> Tensor:
        self.passes += 1
        return super().forward(x)


class Net(nn.Module):
    """Wide enough that ZeRO-3 does not keep all of it whole; its first layer is frozen."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tower = nn.Linear(8, 400)
        self.body = Body(nn.GELU(), nn.Linear(400, 400), nn.LayerNorm(400), nn.Linear(400, 1))
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


OFFLOADED = (
    {"zero_stage": 1, "offload_moments": "cpu"},
    {"zero_stage": 2, "offload_moments": "cpu", "precision": "bf16"},
    {"zero_stage": 3, "offload_moments": "cpu"},
    {"zero_stage": 3, "offload_weights": "cpu"},
    {"zero_stage": 3, "offload_moments": "cpu", "offload_weights": "cpu"},
)


@pytest.mark.parametrize("levers", OFFLOADED)
def test_what_is_offloaded_learns_the_same_and_continues_bit_for_bit(levers: dict[str, object], tmp_path: Path) -> None:
    options = {"averaging": 0.9, **levers}
    kept = {name: value for name, value in options.items() if not name.startswith("offload")}
    plain, first = engine(**kept), engine(**options)
    assert [learn(first, seed) for seed in range(3)] == pytest.approx([learn(plain, seed) for seed in range(3)], rel=1e-4)
    first.save(tmp_path)
    after = [learn(first, seed) for seed in range(3, 6)]
    second = engine(**options)
    second.load(tmp_path)
    assert [learn(second, seed) for seed in range(3, 6)] == after
    assert equal(whole(first), whole(second))


@pytest.mark.soak
def test_weights_on_a_drive_learn_the_same_and_continue_bit_for_bit(tmp_path: Path) -> None:
    if not op_builder("AsyncIOBuilder").is_compatible(verbose=False):
        pytest.skip("libaio-dev is not installed")
    options = {"zero_stage": 3, "averaging": 0.0, "offload_weights": "nvme"}
    plain, first = engine(zero_stage=3, averaging=0.0), engine(**options, nvme=str(tmp_path / "one"))
    assert [learn(first, seed) for seed in range(3)] == pytest.approx([learn(plain, seed) for seed in range(3)], rel=1e-4)
    first.save(tmp_path / "saved")
    after = [learn(first, seed) for seed in range(3, 6)]
    second = engine(**options, nvme=str(tmp_path / "two"))
    second.load(tmp_path / "saved")
    assert [learn(second, seed) for seed in range(3, 6)] == after


def op_builder(name: str) -> Any:
    return getattr(load_deepspeed().ops.op_builder, name)()


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_recomputed_activations_give_the_same_gradients(stage: int) -> None:
    plain, again = engine(zero_stage=stage), engine(zero_stage=stage, recompute=True)
    (body,) = (part for part in again.model.modules() if isinstance(part, Body))
    assert body.how == {"use_reentrant": True}
    assert [learn(again, seed) for seed in range(4)] == [learn(plain, seed) for seed in range(4)]
    assert body.passes > 4  # forward again in each backward pass
    assert equal(plain.weights(), again.weights())


def test_fp16_looks_for_a_scale_of_the_loss_without_counting_that_as_a_fault() -> None:
    if not load_deepspeed().accelerator.get_accelerator().is_fp16_supported():
        pytest.skip("this machine does not compute in fp16")
    learner = engine(zero_stage=2, precision="fp16")
    losses = []
    for seed in range(40):
        losses.append(learn(learner, seed))
        assert learner.applied or learner.rescaling
    assert learner.applied
    assert min(losses[20:]) < losses[0]
    for seed in range(40):
        learn(learner, seed, "loss")
    assert not learner.applied
    assert not learner.rescaling


def test_the_optimizer_and_the_checkpoints_hold_what_learns_and_nothing_else(tmp_path: Path) -> None:
    learnt = sum(p.numel() for p in Net().parameters() if p.requires_grad)
    for stage in range(4):
        learner = engine(zero_stage=stage)
        learn(learner, 0)
        learner.save(tmp_path / str(stage))
        held = [torch.load(file, weights_only=False) for file in (tmp_path / str(stage) / "engine").glob("*.pt")]
        moments = [t for t in tensors(held) if t[0] == "exp_avg"]
        assert sum(t.numel() for _, t in moments) == pytest.approx(learnt, abs=16)  # shares are rounded up
        names = [name for name, _ in tensors([state.get("module") for state in held if isinstance(state, dict)])]
        assert not any(name.startswith("tower.") for name in names)


def tensors(held: object, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a nested checkpoint, by the name they stand under."""
    if isinstance(held, Tensor):
        yield name, held
    elif isinstance(held, dict):
        for key, value in held.items():
            yield from tensors(value, str(key))
    elif isinstance(held, list | tuple):
        for value in held:
            yield from tensors(value, name)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_stage": 0, "precision": "bf16"}, "set zero_stage to 1, 2 or 3"),
        ({"zero_stage": 0, "precision": "fp16"}, "set zero_stage to 1, 2 or 3"),
        ({"zero_stage": 0, "offload_moments": "cpu"}, "set zero_stage to 1, 2 or 3"),
        ({"zero_stage": 2, "offload_weights": "cpu"}, "set zero_stage to 3"),
        ({"zero_stage": 3, "offload_moments": "nvme", "nvme": "/nvme"}, "'none' or 'cpu'"),
        ({"zero_stage": 3, "offload_weights": "nvme", "averaging": 0}, "give both or neither"),
        ({"zero_stage": 3, "nvme": "/nvme"}, "give both or neither"),
        ({"zero_stage": 3, "offload_weights": "nvme", "nvme": "/nvme"}, "set it to 0"),
    ],
)
def test_levers_that_do_not_go_together_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EngineConfig.model_validate(options)


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
