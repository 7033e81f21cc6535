"""What the service is measured on: a simulated shop with photos, prepared, untrained models of it exported as real artifacts, and the
snapshots of a shop that is many times as large.

Weights decide no speed; what a request costs is decided by the shapes of a case and of the model.
"""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import polars as pl
import torch

from plcp.data import contract, prepared
from plcp.data.prepared import PrepareConfig, Prepared
from plcp.data.simulator import stream
from plcp.data.simulator.config import SimulatorConfig
from plcp.data.spec import Spec
from plcp.evaluation.baselines.language import minilm
from plcp.forecast import artifact, shelves, snapshot
from plcp.forecast.runs import Run, latest
from plcp.forecast.snapshot import Snapshot
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor

HORIZON = 26  # weeks
SKUS_PER_SHARD = 2500


def make_shop(folder: Path, skus: int) -> Prepared:
    """Simulates and prepares a shop of two years below a folder."""
    stream.simulate(SimulatorConfig(skus=skus, images=1, image_size=48), folder / "data")
    dataset = contract.open_dataset(folder / "data", quarantine=folder / "quarantine")
    return prepared.prepare(dataset, folder / "prepared", PrepareConfig(skus_per_shard=SKUS_PER_SHARD))


def make_model(folder: Path, shop: Prepared, preset: str) -> Path:
    """Writes an artifact of a preset, its text tower MiniLM and its image tower the preset's own; returns the folder."""
    torch.manual_seed(0)
    spec = Spec(horizon=HORIZON).fitted(shop)
    config = ModelConfig.model_validate({"preset": preset, "text": minilm().model_dump()})
    preprocessor = Preprocessor.build(config.text, config.image, [])
    model = LifeCycleModel.build(config, InputWidths.of_spec(spec), preprocessor)
    artifact.write(folder, model, preprocessor, spec, shop.origin)
    return folder


def stream_of(skus: Sequence[str]) -> bytes:
    """An Arrow stream that asks for products."""
    stream = BytesIO()
    pl.DataFrame({"sku_id": skus}).write_ipc_stream(stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return stream.getvalue()


def skus_of(shop: Prepared, most: int) -> list[str]:
    """The catalog's first SKUs that can be forecast."""
    shard = shop.read(0)
    return [sku for sku, sold in zip(shard.sku_id, shard.units.sum(1) > 0, strict=True) if sold][:most]


def enlarge(shop: Prepared, scores: Path, times: int) -> None:
    """Put the snapshots of a shop so many times as large in the place of those of PREPARED and of the last run: every part copied with
    SKUs of its own, as many files as the real ones would be."""
    run = Run(latest(scores))
    for made in (shelves.products(shop), shelves.forecasts(run)):
        repeat(made, times)


def repeat(made: Snapshot, times: int) -> None:
    count, larger = 1 + int(made.rows[:, 0].max()), made.root.with_name(f"{made.root.name}-larger")

    def renamed(number: int) -> pl.DataFrame:
        frame, copy = made.part(number % count), number // count
        return frame.with_columns(pl.concat_str("sku_id", pl.lit(f"-{copy}"))) if copy else frame

    snapshot.build(larger, made.source, times * count, renamed)
    if (directions := made.root / shelves.DIRECTIONS).exists():
        np.save(larger / shelves.DIRECTIONS, np.tile(np.load(directions), (times, 1)))
    made.root.rename(made.root.with_name(f".{made.root.name}-small"))
    larger.rename(made.root)
