"""Tower outputs by content: each distinct title or photo goes through its tower once, and a cache keeps what came out.

Vectors are rounded through float16 whether they come from the cache or not, so that both give the same forecast.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from plcp.model.model import LifeCycleModel
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import Tower

BATCH = 256  # items through a tower at once
KEYS = 1 << 16  # of the texts met last are kept: cases of one product come again and again
KEY_BYTES = 16  # of a SHA-256: no two of 10^12 items collide


@lru_cache(KEYS)
def text_key(text: str) -> bytes:
    return content_key(text)


def content_key(item: str | bytes) -> bytes:
    return hashlib.sha256(item.encode() if isinstance(item, str) else item).digest()[:KEY_BYTES]


class TowerCache:
    """Vectors of one tower in Parquet files below `folder`, kept apart by the tower's digest.

    Any number of processes may write to it: each adds files of its own, named by what they hold, written aside and renamed.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder / digest
        self._read: set[str] = set()
        self._vectors: dict[bytes, np.ndarray] = {}

    def get(self, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        """float16 vectors of those keys that are held."""
        if any(key not in self._vectors for key in keys):
            self._load()
        return {key: self._vectors[key] for key in keys if key in self._vectors}

    def put(self, vectors: dict[bytes, np.ndarray]) -> None:
        """Add float16 vectors (all of one width)."""
        if not vectors:
            return
        self._vectors |= vectors
        keys = sorted(vectors)
        name = f"{hashlib.sha256(b''.join(keys)).hexdigest()[:32]}.parquet"
        self._read.add(name)
        self.folder.mkdir(parents=True, exist_ok=True)
        values = np.stack([vectors[key] for key in keys])
        frame = pl.DataFrame({"key": pl.Series(keys, dtype=pl.Binary), "vector": [row.tobytes() for row in values]})
        aside = self.folder / f".{name}.{id(self)}.writing"
        frame.write_parquet(aside)
        aside.replace(self.folder / name)

    def _load(self) -> None:
        """Take in files that came since; one that cannot be read is no loss, its vectors are made anew."""
        for path in sorted(self.folder.glob("*.parquet")):
            if path.name not in self._read:
                self._read.add(path.name)
                try:
                    frame = pl.read_parquet(path)
                except (OSError, pl.exceptions.PolarsError):
                    path.unlink(missing_ok=True)
                    continue
                self._vectors.update((k, np.frombuffer(v, np.float16)) for k, v in frame.iter_rows())


class TowerEncoder:
    """Texts and photos → vectors, through a model's towers."""

    def __init__(self, model: LifeCycleModel, preprocessor: Preprocessor, folder: Path | None = None) -> None:
        """`folder` holds the cache, for all models; None: nothing is kept."""
        self.model, self.preprocessor = model, preprocessor
        self.caches: dict[str, TowerCache] = {}
        for name, tower in (("text", model.text), ("image", model.image)):
            if tower is not None and folder is not None:
                self.caches[name] = TowerCache(folder / name, tower_digest(tower, preprocessor))

    def text(self, texts: Sequence[str]) -> Tensor | None:
        """(n, width) float32 on the model's device, rounded through float16; None where the model has no text tower."""
        return self._encode("text", self.model.text, texts, self._texts)

    def image(self, images: Sequence[bytes], owners: Sequence[str] | None = None) -> Tensor | None:
        """As `text`, of encoded photos. Raises DataError naming (by `owners`) a photo that is none."""
        names = dict(zip(images, owners, strict=True)) if owners else {}

        def forward(tower: Tower, items: Sequence[bytes]) -> Tensor:
            asked = [names.get(item, f"image {i}") for i, item in enumerate(items)]
            return tower(self.preprocessor.preprocess([], items, asked)["pixels"].to(self._device))

        return self._encode("image", self.model.image, images, forward)

    def _texts(self, tower: Tower, items: Sequence[str]) -> Tensor:
        batch = self.preprocessor.preprocess(items, [])
        return tower(batch["tokens"].to(self._device), batch["token_mask"].to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _encode(
        self, kind: str, tower: Tower | None, items: Sequence[Any], forward: Callable[[Tower, Sequence[Any]], Tensor]
    ) -> Tensor | None:
        if tower is None:
            return None
        keys = [text_key(item) if isinstance(item, str) else content_key(item) for item in items]
        cache = self.caches.get(kind)
        found = cache.get(keys) if cache else {}
        # the shortest first: a batch is padded to its longest; the order and so the result depend on nothing but the items
        missing = sorted({k: item for k, item in zip(keys, items, strict=True) if k not in found}.items(), key=lambda e: (len(e[1]), e[0]))
        made: dict[bytes, np.ndarray] = {}
        for start in range(0, len(missing), BATCH):
            part = missing[start : start + BATCH]
            with torch.inference_mode():
                vectors = forward(tower, [item for _, item in part]).float().cpu().numpy().astype(np.float16)
            made.update(zip((key for key, _ in part), vectors, strict=True))
        if cache:
            cache.put(made)
        found |= made
        if not items:
            return torch.zeros(0, tower.width, device=self._device)
        return torch.from_numpy(np.stack([found[key] for key in keys]).astype(np.float32)).to(self._device)


def tower_digest(tower: Tower, preprocessor: Preprocessor) -> str:
    """SHA-256 of whatever decides a tower's outputs: its weights and their precision, its shape, the preprocessing."""
    digest = hashlib.sha256(tower.encoder.config.to_json_string().encode())
    if preprocessor.tokenizer is not None:
        digest.update(repr(sorted(preprocessor.tokenizer.get_vocab().items())).encode())
    digest.update(f"{preprocessor.max_tokens} {preprocessor.image}".encode())
    for name, value in sorted(tower.state_dict().items()):
        digest.update(f"{name} {value.dtype}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
