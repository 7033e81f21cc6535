"""Learning without labels: rebuild hidden weeks of a product's history, and tell which history belongs to which title and photo."""

import math

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from plcp.base import Config
from plcp.data.features import NUMERIC
from plcp.model.history import PRICE, UNITS, Scale, channels, last_price, recent_state, scale
from plcp.model.losses import Pooled, means
from plcp.model.model import Encoder, InputWidths, ModelConfig
from plcp.model.towers import ImageTower, TextTower

TEMPERATURE = 0.07  # of the alignment at first; it is learnt, and as in CLIP (Radford et al. 2021) never falls below LEAST
LEAST_TEMPERATURE = 0.01
MASKED = 0.4  # share of the patches that is hidden
OF_LAST_WEEK = [NUMERIC.index(name) for name in ("last_price", "rating", "reviews")]
WEEKS_SEEN = NUMERIC.index("weeks_seen")
EVALUATION = 0  # seed of the masks that validate


class PretrainLossConfig(Config):
    """Weights of the parts in the total."""

    units: float = Field(1.0, ge=0, description="rebuilding the weekly units")
    channels: float = Field(0.3, ge=0, description="rebuilding the other weekly channels")
    alignment: float = Field(0.1, ge=0, description="telling each product's text, photo and vectors from those of others by its history")


class PretrainingModel(Encoder):
    """The encoder with heads of its own for the two tasks; see `forward`. The encoder's weights have the names they have in LifeCycleModel.

    Masked reconstruction: patches of weeks are hidden and rebuilt from the others and from the other modalities (PatchTST, Nie et al. 2023,
    section 3.2; so is MASKED). A hidden week looks like one of which nothing is known, which the encoder also meets in use,
    so no token is needed that only pretraining has.
    Alignment: a projection of the history before fusion meets projections of the towers' vectors (CLIP, Radford et al. 2021).
    """

    def __init__(self, config: ModelConfig, widths: InputWidths, text: TextTower | None, image: ImageTower | None) -> None:
        super().__init__(config, widths, text, image)
        self.rebuild = nn.Linear(config.width, config.patch_weeks * widths.channels)
        sizes = {"text": text and text.width, "image": image and image.width, "vector": widths.vector}
        self.aligned = nn.ModuleDict({name: nn.Linear(size, config.width) for name, size in sizes.items() if size})
        self.life = nn.Linear(2 * config.width, config.width)
        self.temperature = nn.Parameter(torch.tensor([math.log(TEMPERATURE)]))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A batch as LifeCycleModel takes it →

        rebuilt, target (batch, weeks, channels), both on the scale that the visible weeks give; asked (batch, weeks, channels) bool,
        hidden and observed; life (batch, width), divided by the temperature, and lived (batch,) bool, whether any week was visible;
        and of each modality <name> (batch, width), of length one, and <name>_there (batch,) bool.
        """
        hidden = self._hidden(batch["history"])
        seen = hide(batch, hidden)
        with torch.no_grad(), torch.autocast(batch["history"].device.type, enabled=False):
            values, known = channels(seen["history"].float())
            size = scale(values[..., UNITS], known[..., UNITS], batch["pool"].float())
            state = recent_state(values, known, size, batch["age"].float(), batch["due"].float())
            target, observed = targets(batch["history"].float(), seen["history"].float(), size)
        summary, vectors = self.state(state.to(self.dtype)), list(self.vectors(seen))
        patches = self.history(values, known, batch["calendar_history"], size)
        rebuilt = self.rebuild(self.fusion.patches(self.modalities(summary, seen, vectors), patches)).float()
        rebuilt = rebuilt.unflatten(2, (self.history.patch, -1)).flatten(1, 2)[:, self.history.missing :]
        temperature = self.temperature.float().exp().clamp(min=LEAST_TEMPERATURE)
        life = F.normalize(self.life(torch.cat([patches.mean(1), summary], 1)).float(), dim=1) / temperature
        outputs = {"rebuilt": rebuilt, "target": target, "asked": observed & hidden.unsqueeze(2)}
        outputs |= {"life": life, "lived": (known[..., UNITS] > 0).any(1)}
        for name, found, index in vectors:
            narrow = F.layer_norm(found.float(), found.shape[-1:]).to(self.dtype)
            outputs[name] = F.normalize(self.aligned[name](narrow).float(), dim=1)[index.clamp(min=0)]
            outputs[f"{name}_there"] = index >= 0
        return outputs

    def _hidden(self, history: Tensor) -> Tensor:
        """Which weeks are hidden, (batch, weeks) bool: whole patches, drawn at random; the same ones in every validation."""
        drawn = None if self.training else torch.Generator(history.device).manual_seed(EVALUATION)
        patches = torch.rand(len(history), self.history.patches, device=history.device, generator=drawn) < MASKED
        return patches.repeat_interleave(self.history.patch, 1)[:, self.history.missing :]


def hide(batch: dict[str, Tensor], hidden: Tensor) -> dict[str, Tensor]:
    """The batch as it would be if nothing were known of the hidden weeks (batch, weeks); numbers that tell of the last week go with it."""
    history = torch.where(hidden.unsqueeze(2), torch.nan, batch["history"])
    numeric = batch["numeric"].clone()
    numeric[:, OF_LAST_WEEK] = torch.where(hidden[:, -1:], torch.nan, numeric[:, OF_LAST_WEEK])
    numeric[:, WEEKS_SEEN] = torch.isfinite(history[..., UNITS]).sum(1).to(numeric.dtype)
    return {**batch, "history": history, "numeric": numeric}


def targets(history: Tensor, seen: Tensor, size: Scale) -> tuple[Tensor, Tensor]:
    """What is to be rebuilt (batch, weeks, channels): units by the visible weeks' location and spread, prices by the last visible one;
    and what of it was observed, bool."""
    base = last_price(seen[..., PRICE])
    values, known = channels(history, base)
    values[..., UNITS] = (values[..., UNITS] - size.location.unsqueeze(1)) / size.spread.unsqueeze(1)
    observed = known > 0
    observed[..., PRICE] &= torch.isfinite(base).unsqueeze(1)
    return values, observed


def rebuilding_losses(outputs: dict[str, Tensor], weight: Tensor, pooled: Pooled) -> tuple[Tensor, Tensor]:
    """Huber losses of the units and of the other channels, over hidden weeks that were observed; weight (batch,) of the cases.

    `pooled`: as of plcp.model.losses.loss.

    Robust, because a level that jumped while it was hidden lies many spreads away.
    """
    error = F.huber_loss(outputs["rebuilt"], outputs["target"], reduction="none")
    share = outputs["asked"] * weight[:, None, None]
    others = [channel for channel in range(error.shape[2]) if channel != UNITS]
    terms = [((error * share)[..., at].sum(), share[..., at].sum()) for at in ([UNITS], others)]
    units, rest = means(terms, pooled)
    return units, rest


def contrast(anchors: Tensor, candidates: Tensor, own: Tensor, allowed: Tensor) -> Tensor:
    """InfoNCE (van den Oord et al. 2018) of each anchor: how surely it is told from all `allowed` which candidate is its `own`.

    anchors (n, width), candidates (m, width), own (n,) indices, allowed (n, m) bool → (n,).
    """
    logits = (anchors @ candidates.T).masked_fill(~allowed, -torch.inf)
    return F.cross_entropy(logits, own, reduction="none")
