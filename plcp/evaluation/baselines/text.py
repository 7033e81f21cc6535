"""A language model fine-tuned on the product's text alone: what category, brand and title promise, whatever was sold.

As by J. Devlin et al. (2019), BERT, https://arxiv.org/abs/1810.04805: a pretrained encoder and one linear layer, learned together for all
tasks. Of the encoder only the last layers learn: two processors take too long for all of them. From the text come quantiles of the weekly
units of products in life (the same for every week: a text has no date), of each of a launch's first weeks, probabilities of events, and
the stage. What no past product teaches, being too few, starts from the shares and quantiles of all, and stays near them.

One epoch gave in-life wql 0.896 and launch wql 0.815 on the benchmark's first dev origin; more were not tried.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from plcp.base import Config
from plcp.data.lifecycle import CONFIRM, HINDSIGHT, Levels
from plcp.data.prepared import Prepared
from plcp.data.view import PanelView, panel_view
from plcp.evaluation.baselines.language import by_length, minilm
from plcp.evaluation.baselines.lightgbm import BALANCE
from plcp.evaluation.baselines.recent import QUANTILE_WEEKS, first_weeks, past_launches, recent_curves, with_rules
from plcp.evaluation.baselines.threads import one_thread
from plcp.evaluation.baselines.titles import product_texts
from plcp.evaluation.baselines.trees import TWEEDIE_POWER
from plcp.evaluation.cases import ACTIVE_WITHIN, END_WEEKS, Cases
from plcp.evaluation.contestant import Forecasts, curve_frame, event_frame, rows_of, stage_frame
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import TextTower, TextTowerConfig
from plcp.tables import LEVELS, STAGES

TUNED_LAYERS = 2  # of the encoder, the last ones
HEAD_RATE = 20  # learning rate of the linear layer beside the encoder's
WEEK = len(LEVELS) + 1  # outputs of a week: quantiles in log1p units, and the log of the mean
EVENTS = len(END_WEEKS) + 1


class TextConfig(Config):
    """The encoder, and how it is fine-tuned."""

    tower: TextTowerConfig | None = Field(None, description="all-MiniLM-L6-v2 of the extra `peers` unless given")
    epochs: int = Field(1, ge=1, description="times that every text is seen")
    batch: int = Field(64, ge=1, description="texts in a batch")
    learning_rate: float = Field(5e-5, gt=0, description="of the encoder")


class Text:
    """Raises ConfigError without the extra `peers`, unless it is given another encoder."""

    def __init__(self, config: TextConfig | None = None) -> None:
        self.config = config or TextConfig()
        self.tower = self.config.tower or minilm()

    def forecast(self, prepared: Prepared, cases: Cases, seed: int, work: Path) -> Forecasts:
        view = panel_view(prepared)
        rows = rows_of(view.sku_id, cases.in_life)
        rule = with_rules(view, rows, cases, *recent_curves(view.units[rows], cases.horizon))
        targets, texts = Targets.of(view, cases.launch_horizon), product_texts(view, cases)
        if not targets.known.any():
            return rule
        torch.manual_seed(seed)
        model = TextModel(self.tower, texts, targets)
        learn(model, texts, targets, self.config)
        return forecasts(model.predict(texts), cases, rows, rule)


@dataclass(frozen=True)
class Targets:
    """What is known of n products; NaN where it is not."""

    weekly: np.ndarray  # (n, QUANTILE_WEEKS or fewer) units of the last weeks, of products in life
    launch: np.ndarray  # (n, launch horizon) units of the first weeks, of launches that were seen
    events: np.ndarray  # (n, EVENTS) whether it ended within each of END_WEEKS, and reached a new peak, from the latest week that can tell
    stage: np.ndarray  # (n,) index into STAGES, likewise

    @property
    def known(self) -> np.ndarray:
        """Products of which anything is known, (n,)."""
        columns = np.column_stack([self.weekly, self.launch, self.events, self.stage])
        return ~np.isnan(columns).all(1)

    @staticmethod
    def of(view: PanelView, launch_horizon: int) -> "Targets":
        n, past = len(view.units), past_launches(view, launch_horizon)
        launch = np.full((n, launch_horizon), np.nan)
        launch[past] = first_weeks(view, past, launch_horizon)
        weekly = np.where(in_life_at(view, view.origin)[:, None], view.units[:, -QUANTILE_WEEKS:], np.nan)
        ends = [ended_within(view, weeks) for weeks in END_WEEKS]
        at, levels, every = max(view.origin - HINDSIGHT, 0), Levels(view.units), np.arange(n)
        alive = in_life_at(view, at)
        peak = np.where(alive, levels.new_peak(every, np.full(n, at)), np.nan)
        stage = np.where(alive, levels.stage(every, np.full(n, at)), np.nan)
        return Targets(weekly, launch, np.stack([*ends, peak], 1), stage)


def in_life_at(view: PanelView, week: int) -> np.ndarray:
    """Whether each product sold within the 26 weeks before a week, (n,) bool."""
    return (view.units[:, max(0, week - ACTIVE_WITHIN) : max(week, 0)] > 0).sum(1) > 0


def ended_within(view: PanelView, weeks: int) -> np.ndarray:
    """Whether each product ended within so many weeks, from the latest week for which that is confirmed; NaN if not in life then. (n,)."""
    week = view.origin - weeks - CONFIRM
    return np.where(in_life_at(view, week), view.last < week + weeks, np.nan)


class TextModel(nn.Module):
    """Text → outputs (b, WEEK + launch horizon × WEEK + EVENTS + stages), which start as the same for all texts."""

    def __init__(self, tower: TextTowerConfig, texts: list[str], targets: Targets) -> None:
        super().__init__()
        self.preprocessor = Preprocessor.build(tower, None, texts)
        self.tower = TextTower.build(tower, self.preprocessor.vocabulary).eval()  # dropout would be slow on a processor
        start = torch.cat([week_start(targets.weekly.ravel()), *map(week_start, targets.launch.T), class_start(targets)])
        self.head = nn.Linear(self.tower.width, len(start))
        nn.init.zeros_(self.head.weight)
        self.head.bias.data = start
        self.tower.requires_grad_(False)
        bert: Any = self.tower.encoder
        bert.encoder.layer[-TUNED_LAYERS:].requires_grad_(True)

    def forward(self, texts: list[str]) -> Tensor:
        batch = self.preprocessor.preprocess(texts, [])
        return self.head(self.tower(batch["tokens"], batch["token_mask"]))

    @one_thread()
    def predict(self, texts: list[str]) -> Tensor:
        """Outputs of n texts, in their order."""
        return by_length(texts, self)


def week_start(units: np.ndarray) -> Tensor:
    """Quantiles and log mean of all known units of a week, (WEEK,)."""
    known = units[~np.isnan(units)]
    if not len(known):
        return torch.zeros(WEEK)
    return torch.from_numpy(np.append(np.quantile(np.log1p(known), LEVELS), np.log(max(known.mean(), 1e-3)))).float()


def class_start(targets: Targets) -> Tensor:
    """Log odds of events and logs of the stages' shares, one product of each added, (EVENTS + stages,)."""
    yes, count = np.nansum(targets.events, 0) + 1, (~np.isnan(targets.events)).sum(0) + 2
    stages = np.array([(targets.stage == k).sum() + 1 for k in range(len(STAGES))])
    return torch.from_numpy(np.concatenate([np.log(yes / (count - yes)), np.log(stages / stages.sum())])).float()


@one_thread()
def learn(model: TextModel, texts: list[str], targets: Targets, config: TextConfig) -> None:
    """Fine-tune on the texts of which anything is known, each epoch in another order; the rate falls to zero."""
    known = torch.from_numpy(np.flatnonzero(targets.known))
    truth = {name: torch.from_numpy(value).float() for name, value in vars(targets).items()}
    tuned = [p for p in model.tower.parameters() if p.requires_grad]
    rates: list[dict[str, Any]] = [{"params": tuned}, {"params": model.head.parameters(), "lr": config.learning_rate * HEAD_RATE}]
    optimizer = torch.optim.AdamW(rates, config.learning_rate)
    batches = [part for _ in range(config.epochs) for part in known[torch.randperm(len(known))].split(config.batch)]
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    for rows in batches:
        loss = total_loss(model([texts[row] for row in rows.tolist()]), {name: value[rows] for name, value in truth.items()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def total_loss(out: Tensor, truth: dict[str, Tensor]) -> Tensor:
    """All tasks as one sum, each over what is known of it."""
    weekly, launch, events, stage = split(out)
    loss = week_loss(weekly, truth["weekly"]) + week_loss(launch, truth["launch"])
    known = ~truth["events"].isnan()
    if known.any():
        loss = loss + F.binary_cross_entropy_with_logits(events[known], truth["events"][known])
    staged = ~truth["stage"].isnan() & (truth["stage"] >= 0)
    return loss + F.cross_entropy(stage[staged], truth["stage"][staged].long()) if staged.any() else loss


def week_loss(out: Tensor, units: Tensor) -> Tensor:
    """Pinball loss of the quantiles in log1p units and Tweedie loss of the mean. out (b, 1 or weeks, WEEK), units (b, weeks)."""
    known = ~units.isnan()
    if not known.any():
        return out.sum() * 0
    out, y = out.expand(-1, units.shape[1], -1)[known], units[known]
    error = torch.log1p(y)[:, None] - out[:, :-1]
    level = torch.tensor(LEVELS)
    pinball = torch.maximum(level * error, (level - 1) * error).mean()
    scaled, rate = y / y.mean().clamp(min=1e-3), out[:, -1] - y.mean().clamp(min=1e-3).log()
    low, high = 1 - TWEEDIE_POWER, 2 - TWEEDIE_POWER
    return pinball + ((high * rate).exp() / high - scaled * (low * rate).exp() / low).mean()


def split(out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Outputs (b, …) as those of any week (b, 1, WEEK), of a launch's weeks (b, launch horizon, WEEK), events and stages."""
    weeks, events, stages = out.split([out.shape[1] - EVENTS - len(STAGES), EVENTS, len(STAGES)], 1)
    weekly, launch = weeks.split([WEEK, weeks.shape[1] - WEEK], 1)
    return weekly.unsqueeze(1), launch.unflatten(1, (-1, WEEK)), events, stages


def forecasts(out: Tensor, cases: Cases, rows: np.ndarray, rule: Forecasts) -> Forecasts:
    """Outputs of n products and m launches as forecasts of products `rows` and of all launches."""
    new, starts = cases.launches["sku_id"].to_list(), cases.launches["start"].to_list()
    weekly, launch = (np.asarray(part) for part in split(out)[:2])
    events, stage = (np.asarray(part) for part in (split(out)[2][rows].sigmoid(), split(out)[3][rows].softmax(1)))
    likely = (stage / stage.mean(0) ** BALANCE).argmax(1)
    own, first = weekly[rows].repeat(cases.horizon, 1), launch[len(launch) - len(new) :]
    return replace(
        rule,
        in_life=curve_frame(cases.in_life, cases.origin, [cases.origin] * len(rows), np.expm1(own[:, :, :-1]), np.exp(own[:, :, -1])),
        launch=curve_frame(new, cases.origin, starts, np.expm1(first[:, :, :-1]), np.exp(first[:, :, -1])),
        events=event_frame(cases.in_life, cases.origin, events[:, :-1], events[:, -1]),
        stages=stage_frame(cases.in_life, cases.origin, likely),
    )
