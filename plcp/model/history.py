"""The sales history: normalised channels, patches of weeks as tokens, and the recent state in plain numbers."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from plcp.data.lifecycle import YOUNG
from plcp.data.timeline import YEAR

LEVEL_WEEKS = 13  # the level and spread that a forecast starts from
WINDOWS = (2, 4, 8, 13, 26, 52)  # weeks
LAST_WEEKS = 8  # given one by one
STANDING = (0, 2, 4, 8)  # weeks ago: levels that are held against the highest one
STATE_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
SPREAD_FLOOR = 0.35  # in log1p units: about the spread of a Poisson count of eight
LEVEL_FLOOR = 0.05  # units a week
UNITS, PRICE, PROMO, IN_STOCK = 0, 1, 2, 3  # columns of `history`


class Scale(NamedTuple):
    """What turns a shape into units; all (batch,) float32."""

    location: Tensor  # mean of log1p units
    # root mean square distance of log1p units from it, of each side as if the other were its mirror image: weeks without stock say nothing
    # of how much more may be sold
    below: Tensor
    above: Tensor
    level: Tensor  # mean units
    known: Tensor  # 1 where the product's own weeks say so, 0 where siblings stand in

    @property
    def spread(self) -> Tensor:
        """Of both sides."""
        return ((self.below.square() + self.above.square()) / 2).sqrt()


def masked_mean(values: Tensor, known: Tensor, dim: int = -1) -> Tensor:
    """Mean where known; 0 where nothing is."""
    return (values * known).sum(dim) / known.sum(dim).clamp(min=1)


def channels(history: Tensor, base: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Raw history (batch, weeks, channels) with NaN → values of order one with 0 for unknown, and a mask of what is known.

    Everything by log1p, signs kept; price as the log of its ratio to the last price known, which makes it the same
    for pennies and for thousands (the price itself is among the numeric features), or to `base` (batch,), a price's log.
    """
    known = torch.isfinite(history)
    raw = torch.where(known, history, 0.0)
    values = raw.sign() * torch.log1p(raw.abs())
    last = torch.nan_to_num(last_price(history[..., PRICE]) if base is None else base).unsqueeze(1)
    price = raw[..., PRICE].clamp(min=0.01).log()
    values[..., PRICE] = torch.where(known[..., PRICE], (price - last).clamp(-3, 3), 0.0)
    values[..., PROMO] = raw[..., PROMO]
    values[..., IN_STOCK] = raw[..., IN_STOCK]
    return values, known.to(values.dtype)


def last_price(prices: Tensor) -> Tensor:
    """Log of the last price known in (batch, weeks), NaN where none is."""
    weeks = torch.arange(1, prices.shape[1] + 1, device=prices.device)
    place = (torch.isfinite(prices) * weeks).amax(1)
    last = prices.gather(1, (place - 1).clamp(min=0).unsqueeze(1)).squeeze(1)
    return torch.where(place > 0, last.clamp(min=0.01).log(), torch.nan)


def scale(units: Tensor, known: Tensor, pool: Tensor) -> Scale:
    """Level of the last LEVEL_WEEKS weeks and spread of twice as many about it; siblings' level where the product was not seen in them.

    units (batch, weeks) log1p, 0 where unknown; known (batch, weeks); pool (batch, horizon, names) log1p, NaN where unknown.
    """
    recent, seen = units[:, -LEVEL_WEEKS:], known[:, -LEVEL_WEEKS:]
    longer, longer_seen = units[:, -2 * LEVEL_WEEKS :], known[:, -2 * LEVEL_WEEKS :]
    count = seen.sum(1)
    siblings_known = torch.isfinite(pool).to(units.dtype)
    siblings = masked_mean(torch.nan_to_num(pool).flatten(1), siblings_known.flatten(1))
    own = (count > 0).to(units.dtype)
    location = torch.where(count > 0, masked_mean(recent, seen), siblings)
    centre, weeks = torch.where(count > 0, location, masked_mean(longer, longer_seen)), longer_seen.sum(1)
    distance = (longer - centre.unsqueeze(1)) * longer_seen
    # few weeks say little about the spread: two weeks' worth of a spread of one is mixed in
    below, above = (
        ((2 * side.relu().square().sum(1) + 2.0) / (weeks + 2.0)).sqrt().clamp(min=SPREAD_FLOOR) for side in (-distance, distance)
    )
    level = torch.where(count > 0, masked_mean(torch.expm1(recent), seen), torch.expm1(siblings))
    return Scale(location, below, above, level, own)


def recent_state(values: Tensor, known: Tensor, scale: Scale, age: Tensor, due: Tensor) -> Tensor:
    """The state a forecaster looks at first, (batch, state_width): means, zero shares, quantiles, last weeks, trends, where in its life
    the product stands, and the season that is due.

    age (batch,) weeks and due (batch, horizon, names) as features.inputs gives them, NaN where unknown.
    """
    units, seen = values[..., UNITS], known[..., UNITS]
    empty = (units == 0).to(units.dtype) * seen
    parts = [scale.location, scale.below, scale.above, torch.log1p(scale.level), scale.known]
    for weeks in WINDOWS:
        window, mask = units[:, -weeks:], seen[:, -weeks:]
        parts += [masked_mean(window, mask), torch.log1p(masked_mean(torch.expm1(window), mask))]
        parts += [masked_mean(empty[:, -weeks:], mask), mask.mean(1)]
        parts.append((window * mask).amax(1))
        # the same weeks a year ago: where this year stands against last
        year = slice(units.shape[1] - YEAR - weeks, units.shape[1] - YEAR)
        if year.start >= 0:
            parts += [masked_mean(units[:, year], seen[:, year]), seen[:, year].mean(1)]
    parts += _quantiles(units[:, -2 * LEVEL_WEEKS :], seen[:, -2 * LEVEL_WEEKS :])
    parts += [*units[:, -LAST_WEEKS:].unbind(1), *seen[:, -LAST_WEEKS:].unbind(1)]
    sold = (units > 0).to(units.dtype)
    weeks_ago = units.shape[1] - (sold * torch.arange(1, units.shape[1] + 1, device=units.device)).amax(1)
    parts += [torch.log1p(weeks_ago), (weeks_ago == 0).to(units.dtype), (sold.sum(1) + 1).log()]
    level = _smooth(units, seen)
    highest = level.amax(1)
    week = torch.arange(level.shape[1], device=units.device)
    # of weeks that are equal but for the last bits the latest, whatever machine computes them
    since = level.shape[1] - 1 - ((level > highest.unsqueeze(1) - 1e-3) * week).amax(1)
    parts += [highest, scale.location - highest, torch.log1p(since.to(units.dtype)) / 4]
    peak = torch.expm1(highest).clamp(min=LEVEL_FLOOR)
    parts += [torch.expm1(level[:, -1 - weeks]) / peak for weeks in STANDING]
    parts += [*age_features(age).unbind(1), torch.sigmoid(YOUNG + 0.5 - torch.nan_to_num(age)) * torch.isfinite(age)]
    for channel in range(1, values.shape[2]):
        now, before = slice(-4, None), slice(-17, -4)
        current = masked_mean(values[:, now, channel], known[:, now, channel])
        parts += [current, current - masked_mean(values[:, before, channel], known[:, before, channel]), known[:, now, channel].mean(1)]
    there = torch.isfinite(due).to(units.dtype) * scale.known[:, None, None]
    parts += [*masked_mean(torch.nan_to_num(due), there, 1).unbind(1), *there.mean(1).unbind(1)]
    return torch.stack(parts, 1)


def age_features(age: Tensor) -> Tensor:
    """Weeks since launch, NaN where it is not visible, as numbers of order one: how long, how young, and whether it is known. (…, 3)."""
    visible = torch.isfinite(age).to(age.dtype)
    weeks = torch.nan_to_num(age).clamp(min=0)
    return torch.stack([torch.log1p(weeks) / 4, torch.exp(-weeks / 6), torch.ones_like(weeks)], -1) * visible.unsqueeze(-1)


def _quantiles(window: Tensor, known: Tensor) -> list[Tensor]:
    """STATE_QUANTILES of the known weeks of each row, 0 where none is."""
    ordered = torch.where(known > 0, window, torch.inf).sort(1).values
    count = known.sum(1, keepdim=True)
    levels = torch.tensor(STATE_QUANTILES, device=window.device)
    place = (levels * (count - 1).clamp(min=0)).round().long()
    return list(torch.where(count > 0, ordered.gather(1, place), 0.0).unbind(1))


def _smooth(units: Tensor, known: Tensor) -> Tensor:
    """Centred five-week mean in log1p of units, as the peak is defined; (batch, weeks)."""
    raw = torch.nn.functional.avg_pool1d((torch.expm1(units) * known).unsqueeze(1), 5, 1, 2, count_include_pad=False)
    return torch.log1p(raw.squeeze(1))


def silent(layer: nn.Linear) -> nn.Linear:
    """A first layer that starts at zero: a feature that training never saw at work (last year's weeks in a shop's first year, the weeks
    before Christmas in its summer) says nothing when it comes, in place of something random."""
    nn.init.zeros_(layer.weight)
    nn.init.normal_(layer.bias)  # what tells the units of the layer apart
    return layer


class HistoryEncoder(nn.Module):
    """Patches of weeks → tokens (Nie et al. 2023). Both the raw log1p units and the normalised ones enter."""

    def __init__(self, weeks: int, patch: int, channel_count: int, calendar: int, width: int) -> None:
        super().__init__()
        self.patch, self.patches = patch, -(-weeks // patch)
        self.missing = self.patches * patch - weeks  # weeks before the first that fill up its patch
        self.embed = silent(nn.Linear(patch * (2 * channel_count + 1) + calendar, width))
        self.position = nn.Parameter(torch.randn(self.patches, width) * 0.02)
        self.mix = nn.Sequential(nn.GELU(), nn.Linear(width, width))

    def forward(self, values: Tensor, known: Tensor, calendar: Tensor, scale: Scale) -> Tensor:
        """values, known (batch, weeks, channels), calendar (batch, weeks, K) → tokens (batch, patches, width)."""
        units, seen = values[..., UNITS], known[..., UNITS]
        shape = (units - scale.location.unsqueeze(1)) / scale.spread.unsqueeze(1) * seen
        weekly = torch.cat([values, known, shape.unsqueeze(-1)], -1)
        weekly = torch.nn.functional.pad(weekly, (0, 0, self.missing, 0)).unflatten(1, (self.patches, self.patch)).flatten(2)
        season = torch.nn.functional.pad(calendar, (0, 0, self.missing, 0)).unflatten(1, (self.patches, self.patch)).mean(2)
        tokens = self.embed(torch.cat([weekly, season], -1).to(self.embed.weight.dtype))
        return self.mix(tokens) + self.position
