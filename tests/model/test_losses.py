from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from plcp.model.heads import BINS, event_probability
from plcp.model.losses import LossConfig, hazard_loss, loss, mean_loss, pinball, quantile_loss
from plcp.tables import LEVELS
from tests.model.batches import targets, tensors

ONE = torch.ones(1)


def outputs(cases: int = 8, horizon: int = 26) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "quantiles": torch.rand(cases, horizon, 9).cumsum(-1).requires_grad_(),
        "mean": (torch.rand(cases, horizon) + 1).requires_grad_(),
        "hazard": torch.randn(cases, 3, BINS, requires_grad=True),
        "stage": torch.randn(cases, 5, requires_grad=True),
        "new_peak": torch.randn(cases, requires_grad=True),
        "level": torch.rand(cases),
    }


def mean(term: tuple[Tensor, Tensor]) -> Tensor:
    return term[0] / term[1].clamp(min=1e-6)


def minimum(make_loss, start: Tensor, steps: int = 2000, rate: float = 0.02) -> Tensor:  # type: ignore[no-untyped-def]
    value = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([value], rate)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, steps)
    for _ in range(steps):
        optimizer.zero_grad()
        make_loss(value).backward()
        optimizer.step()
        schedule.step()
    return value.detach()


def test_pinball_is_least_at_the_quantiles() -> None:
    sample = torch.from_numpy(np.random.default_rng(0).gamma(2, 3, 2000)).float()
    none = torch.zeros(2000, 1, dtype=torch.bool)
    best = minimum(lambda q: pinball(q.expand(2000, 1, 9), sample[:, None], none).mean(), torch.ones(9), rate=0.1)
    assert torch.allclose(best, torch.quantile(sample, torch.tensor(LEVELS)), rtol=0.03)


def test_with_stock_outs_the_quantiles_are_not_pulled_down_to_what_was_sold() -> None:
    """Half of the weeks ran out at four units: the uncensored loss would put every upper quantile there."""
    sold = torch.cat([torch.full((500,), 4.0), torch.full((500,), 9.0)])[:, None]
    censored = torch.cat([torch.ones(500, 1), torch.zeros(500, 1)]).bool()
    best = minimum(lambda q: pinball(q.expand(1000, 1, 9), sold, censored).mean(), torch.full((9,), 3.0), rate=0.05)
    assert (best > 8.5).all()


def test_the_mean_loss_is_least_at_the_mean() -> None:
    sample = torch.from_numpy(np.random.default_rng(0).gamma(0.3, 30, 3000)).float()
    level, none, weight = torch.full((3000,), 5.0), torch.zeros(3000, 1, dtype=torch.bool), torch.ones(3000)
    best = minimum(lambda m: mean(mean_loss(m.exp().expand(3000, 1), level, sample[:, None], none, weight, 0.5)), torch.zeros(1))
    assert torch.allclose(best.exp(), sample.mean(), rtol=0.01)


def test_hazards_with_censoring_give_kaplan_meier() -> None:
    """Of 100: 20 had ended, 20 end in weeks 1–2, 30 are lost sight of after week 2, of the other 30 ten end in weeks 3–4."""
    time = torch.tensor([-1.0] * 20 + [1.0] * 20 + [2.0] * 30 + [4.0] * 10 + [60.0] * 20)
    seen = torch.tensor([True] * 40 + [False] * 30 + [True] * 10 + [False] * 20)
    best = minimum(
        lambda h: mean(hazard_loss(h.expand(100, 1, BINS), time[:, None], seen[:, None], torch.ones(100))),
        torch.zeros(1, 1, BINS),
        rate=0.05,
    )
    probability = event_probability(best)[0, 0]
    assert torch.allclose(probability[:3], torch.tensor([0.2, 0.4, 0.6]).double(), atol=0.01)
    assert probability[-1] < 0.62


def test_an_event_after_the_last_bin_counts_as_not_come() -> None:
    logits = torch.randn(1, 1, BINS)
    late = mean(hazard_loss(logits, torch.tensor([[70.0]]), torch.tensor([[True]]), ONE))
    assert torch.isclose(late, mean(hazard_loss(logits, torch.tensor([[70.0]]), torch.tensor([[False]]), ONE)))
    assert torch.isclose(late, torch.nn.functional.softplus(logits).sum())


def test_nothing_known_of_an_event_teaches_nothing() -> None:
    logits = torch.randn(1, 1, BINS)
    assert mean(hazard_loss(logits, torch.tensor([[-2.0]]), torch.tensor([[False]]), ONE)) == 0
    assert mean(hazard_loss(logits, torch.tensor([[torch.nan]]), torch.tensor([[False]]), ONE)) == 0


@pytest.mark.parametrize("config", [LossConfig(), LossConfig(unit_share=0.5, scale_power=1.0)])
def test_unknown_targets_and_cases_without_weight_change_nothing(config: LossConfig) -> None:
    out, batch = outputs(), tensors(targets())
    batch["weight"][3] = 0
    total, parts = loss(out, batch, config)
    changed = {name: value.clone() for name, value in batch.items()}
    changed["units"][3], changed["stage"][3], changed["event_time"][3] = 1e6, 2, 5.0
    other = {name: value.detach().clone() for name, value in out.items()}
    other["quantiles"][0, 4:] = 3.0  # targets of this case are unknown there
    assert torch.isclose(total, loss(other, changed, config)[0])
    assert torch.isfinite(torch.stack(list(parts.values()))).all()


def test_a_batch_without_any_target_gives_zero_and_gradients_to_every_output() -> None:
    out, batch = outputs(), tensors(targets())
    batch["weight"][:] = 0
    total, _ = loss(out, batch, LossConfig())
    total.backward()
    assert total == 0
    for name, value in out.items():
        assert name == "level" or (value.grad is not None and torch.isfinite(value.grad).all())


def test_scale_power_one_counts_a_product_by_its_units() -> None:
    quantiles, units, none = torch.zeros(2, 1, 9), torch.tensor([[1.0], [3.0]]), torch.zeros(2, 1, dtype=torch.bool)
    level, weight = torch.tensor([0.0, 99.0]), torch.ones(2)
    alone = [quantile_loss(quantiles[i : i + 1], level[i : i + 1], units[i : i + 1], none[:1], ONE, LossConfig()) for i in (0, 1)]
    per_case = [float(mean(term)) for term in alone]
    both = mean(quantile_loss(quantiles, level, units, none, weight, LossConfig(scale_power=1.0)))
    assert torch.isclose(both, torch.tensor((per_case[0] + 100 * per_case[1]) / 101))


@pytest.mark.parametrize("shares", [[slice(0, 8)], [slice(0, 4), slice(4, 8)], [slice(0, 1), slice(1, 3), slice(3, 8)]])
def test_however_many_workers_share_a_batch_the_mean_of_their_losses_and_gradients_is_its_own(shares: list[slice]) -> None:
    batch = tensors(targets(8)) | {"weight": torch.tensor([1, 0.3, 1, 1, 0, 1, 0.3, 1])}
    whole, parts = loss(given := outputs(), batch, LossConfig())
    whole.backward()

    def own(share: slice, pooled: Callable[[Tensor], Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        cut = {name: value[share] for name, value in apart.items()}
        return loss(cut, {name: value[share] for name, value in batch.items()}, LossConfig(), pooled)

    apart, weights = outputs(), []
    for share in shares:
        own(share, lambda own: weights.append(own) or own)  # type: ignore[func-returns-value]
    found = [own(share, lambda _: torch.stack(weights).mean(0)) for share in shares]
    torch.stack([total for total, _ in found]).mean().backward()
    assert torch.isclose(torch.stack([total for total, _ in found]).mean(), whole)
    assert all(torch.isclose(torch.stack([part[name] for _, part in found]).mean(), parts[name]) for name in parts)
    for name, value in given.items():
        if value.grad is not None:
            torch.testing.assert_close(value.grad, apart[name].grad, rtol=1e-5, atol=1e-7)
