import pytest
import torch
from torch import Tensor

from plcp.training.spikes import FEWEST, RECENT, SpikeConfig, Spikes

pytestmark = pytest.mark.usefixtures("alone")
CPU = torch.device("cpu")


def watching(policy: str = "report", recent: list[float] | None = None) -> Spikes:
    return Spikes(SpikeConfig.model_validate({"policy": policy}), CPU, recent or [])


def falling(count: int) -> list[float]:
    return (1 + 1 / torch.arange(1.0, count + 1)).tolist()


def fed(spikes: Spikes, losses: list[float]) -> Spikes:
    for step, loss in enumerate(losses):
        spikes.judged(torch.tensor(loss), step, [f"P{step}"])
    return spikes


def gradient(spikes: Spikes, loss: float) -> Tensor:
    weight = torch.tensor(1.0, requires_grad=True)
    spikes.judged(weight * loss, 99, ["B", "A"]).backward()
    assert weight.grad is not None
    return weight.grad


@pytest.mark.parametrize(("policy", "left"), [("report", 50.0), ("skip", 0.0)])
def test_a_loss_that_leaps_is_told_with_its_products_and_left_out_where_that_is_the_policy(policy: str, left: float) -> None:
    spikes = fed(watching(policy), falling(40))
    assert spikes.report() == []
    assert gradient(spikes, 50.0) == left
    assert spikes.report() == [{"step": 99, "spike": 50.0, "left_out": policy == "skip", "sku_id": ["A", "B"]}]
    assert spikes.report() == []
    assert gradient(spikes, 1.02) == pytest.approx(1.02)
    assert spikes.report() == []


def test_neither_a_falling_loss_nor_the_first_ones_nor_what_is_not_finite_leaps() -> None:
    assert fed(watching(), falling(RECENT * 2)).report() == []
    assert fed(watching(), [1.0] * (FEWEST - 1) + [50.0]).report() == []
    assert fed(watching(), [1.0] * FEWEST + [torch.nan, torch.inf, 1.0]).report() == []


def test_what_is_not_finite_does_not_blind_it() -> None:
    spikes = fed(watching(), [1.0] * FEWEST + [torch.nan] * RECENT)
    assert gradient(spikes, 50.0) == 50.0
    assert len(spikes.report()) == 1


@pytest.mark.parametrize("before", [5, RECENT, RECENT + 7])
def test_a_continued_run_judges_as_one_that_was_not_interrupted(before: int) -> None:
    losses = torch.rand(before + 2 * RECENT, generator=torch.Generator().manual_seed(0)).tolist()
    first = fed(watching(), losses[:before])
    again = watching(recent=first.recent())
    for loss in losses[before:]:
        for spikes in (first, again):
            spikes.judged(torch.tensor(loss), 0, [])
        assert first.recent() == again.recent()
