"""The artifact: a folder with everything a forecast needs, and checksums that say it is whole.

model.safetensors   weights, nothing else: no pickle is ever written or read
config.json         the model's configuration, the shape of a case, the names of the features, the training origin
calibration.json    corrections of quantiles, how common stages are, what launches sold and how products ended
tokenizer/, text/, image/   the towers' preprocessing and shapes
card.md             what the model is, what it was trained on, how well it did
checksums.json      SHA-256 of every other file; its own digest names the model
"""

import datetime as dt
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from plcp.base import Config, ModelError
from plcp.data.calendar import CALENDAR
from plcp.data.features import NUMERIC, POOL
from plcp.data.hashing import HASHED
from plcp.data.spec import FUTURE, Spec
from plcp.data.totals import DUE
from plcp.folders import replacing, sha256
from plcp.forecast.calibration import Calibration
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor

FORMAT = 6
CHECKSUMS, WEIGHTS, CONFIG, CALIBRATION, CARD = "checksums.json", "model.safetensors", "config.json", "calibration.json", "card.md"
FEATURES = {"future": FUTURE, "calendar": CALENDAR, "numeric": NUMERIC, "hashed": HASHED, "pool": POOL, "due": DUE}


class ArtifactConfig(Config):
    """config.json."""

    format: int = FORMAT
    origin: dt.date  # first week the training did not see
    model: ModelConfig
    widths: InputWidths
    spec: Spec
    features: dict[str, tuple[str, ...]]  # their names in order; a model reads no other features than it was trained on


@dataclass(frozen=True)
class Artifact:
    """An artifact in memory."""

    model: LifeCycleModel
    preprocessor: Preprocessor
    calibration: Calibration
    config: ArtifactConfig
    digest: str
    card: str


def write(
    folder: Path,
    model: LifeCycleModel,
    preprocessor: Preprocessor,
    spec: Spec,
    origin: dt.date,
    calibration: Calibration | None = None,
    facts: dict[str, str | int | float] | None = None,
) -> str:
    """Write an artifact aside, put it in the folder's place, and return its digest. Raises DataError where something else stands there.

    origin: first week that training did not see; facts: what the card tells of data, training and accuracy.
    """
    config = ArtifactConfig(origin=origin, model=model.config, widths=model.widths, spec=spec, features=FEATURES)
    weights = {name: value.detach().cpu().float().contiguous().clone() for name, value in model.state_dict().items()}
    with replacing(folder, CHECKSUMS) as aside:
        save_file(weights, aside / WEIGHTS)
        (aside / WEIGHTS).chmod(0o644)  # safetensors leaves it to its owner alone; whoever serves may be another
        (aside / CONFIG).write_text(config.model_dump_json(indent=1))
        (aside / CALIBRATION).write_text(json.dumps((calibration or Calibration.identity()).to_dict()))
        preprocessor.save(aside / "tokenizer")
        model.save_towers(aside)
        (aside / CARD).write_text(card(model, config, facts or {}))
        sums = {name: sha256(aside / name) for name in files(aside)}
        (aside / CHECKSUMS).write_text(json.dumps({"files": sums}, indent=1))
    return digest(folder)


def digest(folder: Path) -> str:
    """The model's name: SHA-256 over its files' checksums. Raises ModelError where the folder is no artifact."""
    return hashlib.sha256(json.dumps(_checksums(Path(folder)), sort_keys=True).encode()).hexdigest()


def verify(folder: Path) -> str:
    """Check every file against its checksum, and that this version reads such a model, and return the digest.

    Raises ModelError naming a file absent, changed or added, or what is of another version.
    """
    folder = Path(folder)
    sums = _checksums(folder)
    present = set(files(folder))
    if missing := sorted(set(sums) - present):
        raise ModelError(f"{folder / missing[0]}: missing from the model ({len(missing)} of {len(sums)} files); export it again")
    if extra := sorted(present - set(sums)):
        raise ModelError(f"{folder / extra[0]}: is not part of the model (no checksum in {CHECKSUMS}); remove it, or export again")
    for name, expected in sums.items():
        if sha256(folder / name) != expected:
            raise ModelError(f"{folder / name}: its SHA-256 is not the one in {CHECKSUMS}; the file was changed or damaged: export again")
    read_config(folder)
    return digest(folder)


def load(folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Artifact:
    """An artifact whose every file is what it was when written, its model ready to forecast.

    Raises ModelError naming the file where one is missing, changed, added, or not usable by this version.
    """
    folder = Path(folder)
    name = verify(folder)
    config = _config(folder / CONFIG)
    try:
        calibration = Calibration.from_dict(json.loads((folder / CALIBRATION).read_text()))
    except (ValueError, KeyError) as error:
        raise ModelError(f"{folder / CALIBRATION}: {error}; export the model again with this version") from error
    model = LifeCycleModel.restore(config.model, config.widths, folder)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{folder / WEIGHTS}: does not fit {CONFIG}: {error}") from error
    model = model.to(device=device, dtype=dtype).eval().requires_grad_(False)
    loaded = Artifact(model, Preprocessor.load(folder / "tokenizer"), calibration, config, name, (folder / CARD).read_text())
    if digest(folder) != name:
        raise ModelError(f"{folder}: the model was replaced while it was read; load it again")
    return loaded


def read_config(folder: Path) -> ArtifactConfig:
    """An artifact's configuration alone. Raises ModelError where it is missing or of another version."""
    path = Path(folder) / CONFIG
    if not path.exists():
        raise ModelError(f"{path}: missing; make a model with `plcp export RUN --out {folder}`")
    return _config(path)


def _config(path: Path) -> ArtifactConfig:
    try:
        config = ArtifactConfig.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise ModelError(f"{path}: written by another version ({error.errors()[0]['msg']}); export the model again") from error
    if config.format != FORMAT:
        raise ModelError(f"{path}: format {config.format}, this version reads {FORMAT}; export the run again, or train again")
    if config.widths != InputWidths.of_spec(config.spec):
        raise ModelError(f"{path}: built for inputs of another shape than this version makes of its spec; train again")
    for name, names in FEATURES.items():
        if config.features.get(name) != names:
            raise ModelError(f"{path}: trained on {name} features {config.features.get(name)}, this version makes {names}; train again")
    return config


def _checksums(folder: Path) -> dict[str, str]:
    path = folder / CHECKSUMS
    if not path.exists():
        raise ModelError(f"{folder}: no {CHECKSUMS}, so this is no model; make one with `plcp export RUN --out {folder}`")
    try:
        content: Any = json.loads(path.read_text())
        return {str(name): str(value) for name, value in content["files"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a list of checksums ({error}); export the model again") from error


def files(folder: Path) -> list[str]:
    """Names of all files that need a checksum."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS)


def card(model: LifeCycleModel, config: ArtifactConfig, facts: dict[str, str | int | float]) -> str:
    """The model card, in Markdown."""
    total, trained = (sum(p.numel() for p in model.parameters() if p.requires_grad or not only) for only in (False, True))
    towers = {"text": config.model.text, "image": config.model.image}
    rows = {
        "parameters": f"{total:,} ({trained:,} trained)",
        **{f"{name} tower": "none" if t is None else f"{t.source}{'' if t.trainable else ', frozen'}" for name, t in towers.items()},
        "history": f"{config.spec.history_weeks} weeks",
        "horizon": f"{config.spec.horizon} weeks",
        "trained on weeks before": config.origin.isoformat(),
        **{name: f"{value:,.4g}" if isinstance(value, float) else str(value) for name, value in facts.items()},
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return f"""# PLCP life-cycle model ({config.model.preset})

Forecasts weekly demand with nine quantiles and a mean, the dates of peak, decline and end, and the stage of life of a shop's products.

| | |
|---|---|
{table}

**Meant for** the shop whose data it was trained on, and products like those. Losses and the correction of quantiles stem from weeks held
back from training, which a refit then learned from as well;
they say what was sold, not what could have been, except where stock-outs were reported. **Not meant for** other shops without
fine-tuning, nor for horizons beyond the one above. It was taught nothing of the weeks from the training origin on.
"""
