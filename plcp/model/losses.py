"""What training minimises: one loss per head, each masked by what is known of its target."""

from collections.abc import Callable, Iterable

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from plcp.base import Config
from plcp.model.heads import BIN_WEEKS, BINS, LEVEL_FLOOR
from plcp.tables import LEVELS


class LossConfig(Config):
    """Weights of the heads in the total."""

    quantiles: float = Field(1.0, ge=0)
    mean: float = Field(0.1, ge=0)
    hazard: float = Field(0.1, ge=0)
    stage: float = Field(0.1, ge=0)
    new_peak: float = Field(0.1, ge=0)
    # 0 counts every product the same, 1 counts it by its units, as the scale-weighted quantile loss does
    scale_power: float = Field(0.8, ge=0, le=1)
    # share of the quantile loss taken in units (relative to the level) in place of log1p units
    unit_share: float = Field(0.0, ge=0, le=1)


Term = tuple[Tensor, Tensor]  # a weighted sum, (), and the sum of its weights, (); still part of the graph where nothing is known
Pooled = Callable[[Tensor], Tensor]


def unshared(weights: Tensor) -> Tensor:
    """For `pooled`, where a worker's batch is its own."""
    return weights


def loss(
    outputs: dict[str, Tensor], batch: dict[str, Tensor], config: LossConfig, pooled: Pooled = unshared
) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs of the model and a batch of the loader (as tensors) → the total, and each part without gradient.

    `pooled` makes of the sums of weights of a worker's share of a batch (parts,) their mean over all workers: by these, the mean of the
    workers' losses, and of their gradients, is that of the whole batch, however many workers share it.

    Batch: units (batch, horizon) NaN unknown, censored (batch, horizon) bool, event_time (batch, 3), event_seen (batch, 3)
    bool, stage (batch,) -1 unknown, new_peak (batch,) NaN unknown, weight (batch,).
    """
    weight = batch["weight"].float()
    terms = {
        "quantiles": quantile_loss(outputs["quantiles"], outputs["level"], batch["units"], batch["censored"], weight, config),
        "mean": mean_loss(outputs["mean"], outputs["level"], batch["units"], batch["censored"], weight, config.scale_power),
        "hazard": hazard_loss(outputs["hazard"], batch["event_time"], batch["event_seen"], weight),
        "stage": stage_loss(outputs["stage"], batch["stage"], weight),
        "new_peak": new_peak_loss(outputs["new_peak"], batch["new_peak"], weight),
    }
    parts = means(terms.values(), pooled)
    total = torch.stack([getattr(config, name) * part for name, part in zip(terms, parts, strict=True)]).sum()
    return total, dict(zip(terms, parts.detach(), strict=True))


def means(terms: Iterable[Term], pooled: Pooled) -> Tensor:
    """Each term's mean, (terms,), 0 where nothing is known."""
    sums, weights = (torch.stack(each) for each in zip(*terms, strict=True))
    return sums / pooled(weights.detach()).clamp(min=1e-6)


def quantile_loss(quantiles: Tensor, level: Tensor, units: Tensor, censored: Tensor, weight: Tensor, config: LossConfig) -> Term:
    """Pinball loss in log1p units, weighted by the scale of the case; a censored week only punishes forecasting too little.

    The scale is the model's own level, known before the week: weighting by the outcome would bias the quantiles.
    """
    known = torch.isfinite(units)
    actual = torch.where(known, units, 0.0)
    total = pinball(quantiles, torch.log1p(actual), censored)
    if config.unit_share:
        relative = (1 + level)[:, None, None]
        in_units = pinball(torch.expm1(quantiles) / relative, actual / relative[..., 0], censored)
        total = (1 - config.unit_share) * total + config.unit_share * in_units
    return _term(total, known, weight * _scale(level, config.scale_power))


def pinball(quantiles: Tensor, actual: Tensor, censored: Tensor) -> Tensor:
    """quantiles (batch, horizon, 9), actual (batch, horizon) → twice the mean over the levels, (batch, horizon)."""
    levels = torch.tensor(LEVELS, device=quantiles.device)
    gap = actual.unsqueeze(-1) - quantiles
    above = (1 - levels) * F.relu(-gap) * (~censored).unsqueeze(-1)  # demand may have been higher than what was sold
    return 2 * (levels * F.relu(gap) + above).mean(-1)


def mean_loss(mean: Tensor, level: Tensor, units: Tensor, censored: Tensor, weight: Tensor, scale_power: float) -> Term:
    """Tweedie deviance of power 1.5 relative to the level: its minimum is the mean, and it bears zeros and heavy tails."""
    known = torch.isfinite(units) & ~(censored & (mean >= units))
    base = (level + LEVEL_FLOOR).unsqueeze(1)
    expected, actual = mean / base, torch.where(known, units, 0.0) / base
    deviance = 2 * (expected.sqrt() + actual * expected.rsqrt()) - 4 * actual.sqrt()
    return _term(deviance, known, weight * _scale(level, scale_power))


def hazard_loss(hazard: Tensor, time: Tensor, seen: Tensor, weight: Tensor) -> Term:
    """Negative log likelihood of discrete hazards with right censoring, per event and case.

    An event at `time` weeks lived through every bin before its own; one not seen lived through the bins that end by `time`.
    """
    known = torch.isfinite(time)
    weeks = torch.where(known, time, -1.0)
    own = torch.where(weeks <= 0, 0.0, torch.ceil(weeks / BIN_WEEKS))  # the bin it falls into
    free = torch.where(weeks < 0, 0.0, 1 + torch.floor(weeks / BIN_WEEKS))  # bins known to be free, bin 0 among them
    survived = torch.where(seen, own, free).clamp(max=BINS).unsqueeze(-1)
    bins = torch.arange(BINS, device=hazard.device)
    likelihood = (F.logsigmoid(-hazard) * (bins < survived)).sum(-1)
    fell = seen.unsqueeze(-1) & (bins == own.unsqueeze(-1))  # none where it came after the last bin
    likelihood = likelihood + (F.logsigmoid(hazard) * fell).sum(-1)
    return _term(-likelihood, known, weight)


def stage_loss(logits: Tensor, stage: Tensor, weight: Tensor) -> Term:
    known = stage >= 0
    return _term(F.cross_entropy(logits, stage.clamp(min=0), reduction="none").unsqueeze(1), known.unsqueeze(1), weight)


def new_peak_loss(logit: Tensor, new_peak: Tensor, weight: Tensor) -> Term:
    known = torch.isfinite(new_peak)
    value = F.binary_cross_entropy_with_logits(logit, torch.where(known, new_peak, 0.0), reduction="none")
    return _term(value.unsqueeze(1), known.unsqueeze(1), weight)


def _scale(level: Tensor, power: float) -> Tensor:
    return (1 + level).pow(power)


def _term(values: Tensor, known: Tensor, weight: Tensor) -> Term:
    """What is known of (batch, …), weighted."""
    share = known * weight.unsqueeze(1)
    return (torch.where(known, values, 0.0) * share).sum(), share.sum()
