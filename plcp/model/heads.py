"""Heads: a curve of quantiles that cannot cross, its mean, hazards of the life's events, stage, new peak."""

import itertools
import math
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plcp.model.history import LEVEL_FLOOR, Scale, silent
from plcp.tables import EVENTS, LEVELS, STAGES

MIDDLE = len(LEVELS) // 2  # the median's place
BIN_WEEKS = 2
BINS = 27  # bin 0: the event has happened at the start; then 26 bins of BIN_WEEKS, 52 weeks
ELASTICITY = 2.6  # of demand to its own price, before anything is learned: the mean of 1851 estimates (Bijmolt, van Heerde & Pieters 2005)
MAX_LOG = 14.0  # no forecast above e^14 units a week


class CurveHead(nn.Module):
    """Each step: nine quantiles in log1p units and a mean, both as a shape laid on the product's own level and spread.

    The median is the recent location plus the network's shift; the others follow by cumulative positive increments outwards
    (Gasthaus et al. 2019), so no two can cross. With the last layer at zero the forecast is the recent level with half a
    normal distribution of log1p units on each side, which is where training starts.

    A planned price enters by an elasticity alone, which each step reads off the state and which is never below zero: whatever else is
    learned, a higher price never sells more.
    """

    gaps: Tensor

    def __init__(self, width: int, context: int, steps: int, horizon: int, dropout: float) -> None:
        super().__init__()
        self.context = nn.Linear(context, width)
        self.steps = silent(nn.Linear(steps, width))
        self.position = nn.Parameter(torch.randn(horizon, width) * 0.02)
        self.hidden = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(width, len(LEVELS) + 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.elasticity = nn.Linear(width, 1)
        nn.init.zeros_(self.elasticity.weight)
        nn.init.constant_(self.elasticity.bias, math.log(math.expm1(ELASTICITY)))
        normal = [NormalDist().inv_cdf(level) for level in LEVELS]
        gaps = [math.log(math.expm1(b - a)) for a, b in itertools.pairwise(normal)]  # softplus gives b - a back
        self.register_buffer("gaps", torch.tensor(gaps), persistent=False)

    def forward(
        self, context: Tensor, steps: Tensor, scale: Scale, price: Tensor, unplanned: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """context (batch, C), steps (batch, horizon, F), price (batch, horizon), the log of its change → quantiles (batch, horizon, 9)
        log1p, mean (batch, horizon) units, and the response (batch, horizon) of the median in log1p units to the price and, where
        `unplanned` has the steps without them, to what is planned beside it."""
        state = self.state(context, steps)
        raw = self.out(state).float()
        response = -F.softplus(self.elasticity(state).float().squeeze(-1)) * price
        median = scale.location.unsqueeze(1) + raw[..., MIDDLE] + response
        gaps = F.softplus(torch.cat([raw[..., :MIDDLE], raw[..., MIDDLE + 1 : -1]], -1) + self.gaps)
        below = median.unsqueeze(-1) - gaps[..., :MIDDLE].flip(-1).cumsum(-1).flip(-1) * scale.below[:, None, None]
        above = median.unsqueeze(-1) + gaps[..., MIDDLE:].cumsum(-1) * scale.above[:, None, None]
        latent = torch.cat([below, median.unsqueeze(-1), above], -1)
        mean = ((scale.level + LEVEL_FLOOR).log().unsqueeze(1) + raw[..., -1] + response).clamp(max=MAX_LOG).exp()
        if unplanned is not None:
            response = response + raw[..., MIDDLE] - self.out(self.state(context, unplanned))[..., MIDDLE].float()
        return floored(latent), mean, response

    def state(self, context: Tensor, steps: Tensor) -> Tensor:
        """(batch, horizon, width) of context (batch, C) and steps (batch, horizon, F)."""
        steps = steps.to(self.steps.weight.dtype)
        state = F.gelu(self.context(context).unsqueeze(1) + self.steps(steps) + self.position[: steps.shape[1]])
        return self.norm(state + self.dropout(F.gelu(self.hidden(state))))


def floored(latent: Tensor) -> Tensor:
    """Latent quantiles → between 0 and MAX_LOG, with the gradient passed straight through.

    A plain clamp would leave a quantile that fell below zero without a gradient when sales come back.
    """
    return latent + (latent.clamp(0, MAX_LOG) - latent).detach()


class EventHead(nn.Module):
    """Discrete-time hazards of peak, decline and end (Gensheimer & Narasimhan 2019): logits (batch, 3, BINS)."""

    def __init__(self, context: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(context, width)
        self.out = nn.Linear(width, len(EVENTS) * BINS)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, -3.0)  # about 5% a bin, before anything is learned

    def forward(self, context: Tensor) -> Tensor:
        return self.out(F.gelu(self.hidden(self.dropout(context)))).float().unflatten(-1, (len(EVENTS), BINS))


class StageHead(nn.Module):
    """Stage logits (batch, 5) and the new-peak logit (batch,)."""

    def __init__(self, context: int, width: int, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Linear(context, width)
        self.out = nn.Linear(width, len(STAGES) + 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, context: Tensor) -> tuple[Tensor, Tensor]:
        raw = self.out(F.gelu(self.hidden(self.dropout(context)))).float()
        return raw[:, : len(STAGES)], raw[:, -1]


def event_probability(hazard: Tensor) -> Tensor:
    """Hazard logits (..., BINS) → probability (..., BINS) that the event has come by the end of each bin; never falling."""
    return 1 - F.logsigmoid(-hazard.double()).cumsum(-1).exp()
