"""What is known of each week to be forecast: calendar, plans, signals, age, siblings of that age, the same weeks of earlier years, and
what the shop sold in them.

The planned price stands apart: demand must fall where it rises, which a free feature would not promise.
"""

import torch
from torch import Tensor

from plcp.data.timeline import YEAR
from plcp.model.history import LEVEL_WEEKS, UNITS, Scale, age_features, last_price, masked_mean

PLANNED_PRICE, PLANNED_PROMO = 0, 1  # columns of `future`; signals follow


def step_features(batch: dict[str, Tensor], values: Tensor, known: Tensor, scale: Scale) -> Tensor:
    """Features of each week ahead, (batch, horizon, step_width) float32, all of order one."""
    future, horizon = batch["future"], batch["future"].shape[1]
    # of a product never sold the calendar, and what is due, would only say when last year's launches came
    parts = [
        batch["calendar_future"] * scale.known[:, None, None],
        last_years(values, known, horizon),
        planned_promotion(future),
    ]
    signals = future[..., PLANNED_PROMO + 1 :]
    parts += [torch.nan_to_num(signals), torch.isfinite(signals).to(values.dtype)]
    pool = batch["pool"]
    siblings, there = torch.nan_to_num(pool), torch.isfinite(pool).to(values.dtype)
    # what others of its age did says the less of a product, the more of its own weeks are known: their year was another one
    unknown = 1 - known[:, -LEVEL_WEEKS:, UNITS].mean(1)[:, None, None]
    step = torch.arange(horizon, device=future.device, dtype=values.dtype)
    age = age_features(batch["age"].unsqueeze(1) + step)
    parts += [part * unknown for part in (siblings, (siblings - scale.location[:, None, None]) * there, there, age)]
    due = batch["due"]
    parts += [part * scale.known[:, None, None] for part in (torch.nan_to_num(due), torch.isfinite(due).to(values.dtype))]
    return torch.cat(parts, -1)


def without_promotion(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same with every planned promotion of a depth of zero."""
    future = batch["future"]
    plan = torch.arange(future.shape[2], device=future.device) == PLANNED_PROMO
    return {**batch, "future": torch.where(plan & torch.isfinite(future), 0.0, future)}


def planned_promotion(future: Tensor) -> Tensor:
    """Planned promotion and whether it is known, and whether the price is; (batch, horizon, 3)."""
    there = torch.isfinite(future[..., : PLANNED_PROMO + 1]).to(future.dtype)
    promo = torch.nan_to_num(future[..., PLANNED_PROMO])
    return torch.stack([promo, there[..., PLANNED_PROMO], there[..., PLANNED_PRICE]], -1)


def planned_price(future: Tensor, history_price: Tensor) -> Tensor:
    """Log of the planned price's ratio to the last price known, (batch, horizon); 0 where either is unknown."""
    price, last = future[..., PLANNED_PRICE], last_price(history_price).unsqueeze(1)
    ratio = torch.where(torch.isfinite(price), price, 1.0).clamp(min=0.01).log() - torch.nan_to_num(last)
    return torch.where(torch.isfinite(price) & torch.isfinite(last), ratio.clamp(-3, 3), 0.0)


def last_years(values: Tensor, known: Tensor, horizon: int) -> Tensor:
    """For each step the weeks around it one year ago (and two, where the history reaches), (batch, horizon, years × width).

    Five weeks' log1p units one by one, their mean, how much is known of them, and their mean relative to last year's level
    before the origin: the season that is due, free of the product's present level.
    """
    units, seen = values[..., UNITS], known[..., UNITS]
    batch, weeks = units.shape
    parts = []
    for year in range(1, weeks // YEAR + 1):
        first = weeks - YEAR * year
        padded = [torch.nn.functional.pad(x, (2, 2)) for x in (units, seen)]
        around, mask = (x[:, first : first + horizon + 4].unfold(1, 5, 1) for x in padded)
        mean = masked_mean(around, mask)
        before = slice(max(first - LEVEL_WEEKS, 0), first)
        if first:
            base, base_known = masked_mean(units[:, before], seen[:, before]), seen[:, before].amax(1)
        else:
            base, base_known = units.new_zeros(batch), units.new_zeros(batch)
        relative = (mean - base.unsqueeze(1)) * base_known.unsqueeze(1) * mask.amax(-1)
        parts += [around, torch.stack([mean, mask.mean(-1), relative, base_known.unsqueeze(1).expand_as(mean)], -1)]
    return torch.cat(parts, -1) if parts else units.new_zeros(batch, horizon, 0)
