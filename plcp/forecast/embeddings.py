"""Tower outputs by content: each distinct title or photo goes through its tower once, and a cache keeps what came out.

What shares a batch is padded by its own length and takes no part in a vector, which is rounded through float16 whether it comes from
the cache or not: so a full cache, an empty one and none give the same forecast. In fp32 on CPUs they do so to the bit; in bf16 and on
GPUs the last bits of a matrix product hang on how many rows it has, and with them those of a text that is encoded among others.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.nn import functional

from plcp.forecast.vector_shelf import VectorShelf
from plcp.model.model import Encoder
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import Tower, Towers

Run = Callable[..., Iterable[Any]]  # `map`, or an executor's
Job = tuple[np.ndarray, Callable[[], Tensor]]  # places of some items, and what gives their vectors
TOKENS = 4096  # through a tower at once, padding included: activations that a processor's cache still holds
PIXELS = 1 << 20  # as many tokens, in patches of 16 × 16
PADDED = 8  # tokens that a text's own number of them is rounded up to
TOKENISED = 4096  # texts at once: the first are under way while the others are still read
ABANDONED_S = 3600  # after which nobody is writing a file any longer
KEYS = 1 << 16  # of the texts met last are kept: cases of one product come again and again
KEY_BYTES = 16  # of a SHA-256: no two of 10^12 items collide


@lru_cache(KEYS)
def text_key(text: str) -> bytes:
    return content_key(text)


def content_key(item: str | bytes) -> bytes:
    return hashlib.sha256(item.encode() if isinstance(item, str) else item).digest()[:KEY_BYTES]


def vectors_beside(prepared: Path) -> Path:
    """Where vectors of a PREPARED folder's texts and photos are kept: beside it, as a new week replaces the folder itself."""
    return prepared.with_name(f"{prepared.name}-vectors")


class TowerCache:
    """Vectors of one tower, and in Parquet files in `folder`, where there is one.

    Any number of processes may write to it: each adds files of its own, named by what they hold, written aside and renamed. So may any
    number of threads.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._read: set[str] = set()
        self._row: dict[bytes, int] = {}
        self._vectors = np.zeros((0, 0), np.float16)  # a row each, and room for more
        self._alone = threading.Lock()

    def find(self, keys: Sequence[bytes]) -> np.ndarray:
        """Rows of the keys for `take`, (n,); -1 for what is not held."""
        with self._alone:
            rows = self._rows(keys)
            if self.folder and (rows < 0).any():
                self._load(self.folder)
                rows = self._rows(keys)
            return rows

    def take(self, rows: np.ndarray) -> np.ndarray:
        """float16 vectors, (n, width)."""
        with self._alone:
            return self._vectors[rows]

    def put(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Add float16 vectors (n, width), all of one width."""
        if not keys:
            return
        name = f"{hashlib.sha256(b''.join(sorted(keys))).hexdigest()[:32]}.parquet"
        with self._alone:
            self._hold(keys, vectors)
            self._read.add(name)
        if self.folder is None:
            return
        frame = pl.DataFrame({"key": pl.Series(keys, dtype=pl.Binary), "vector": [row.tobytes() for row in vectors]}).sort("key")
        aside = self.folder / f".{name}.{uuid4().hex}.writing"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            frame.write_parquet(aside)
            aside.replace(self.folder / name)
        except (OSError, pl.exceptions.PolarsError) as error:  # a full or read-only disk costs time next week, not this week's run
            with suppress(OSError):
                aside.unlink()
            logging.getLogger(__name__).warning("%s: vectors cannot be kept there (%s); they are made anew each time", self.folder, error)

    def _rows(self, keys: Sequence[bytes]) -> np.ndarray:
        return np.fromiter((self._row.get(key, -1) for key in keys), np.int64, len(keys))

    def _hold(self, keys: Sequence[bytes], vectors: np.ndarray) -> None:
        """Takes the vectors in; room doubles when it is out, so that many small additions cost no more than a large one."""
        count = len(self._row)
        if count + len(keys) > len(self._vectors):
            room = np.empty((2 * (count + len(keys)), vectors.shape[1]), np.float16)
            if count:
                room[:count] = self._vectors[:count]
            self._vectors = room
        new = {key: i for i, key in enumerate(keys) if key not in self._row}
        self._vectors[count : count + len(new)] = vectors[[*new.values()]]
        self._row.update((key, count + place) for place, key in enumerate(new))

    def _load(self, folder: Path) -> None:
        """Take in files that came since; one that cannot be read is no loss, its vectors are made anew. What killed writers left goes."""
        for aside in folder.glob(".*.writing"):
            with suppress(FileNotFoundError):
                if time.time() - aside.stat().st_mtime > ABANDONED_S:
                    aside.unlink()
        for path in sorted(folder.glob("*.parquet")):
            if path.name not in self._read:
                self._read.add(path.name)
                try:
                    frame = pl.read_parquet(path)
                    vectors = np.frombuffer(b"".join(frame["vector"].to_list()), np.float16).reshape(len(frame), -1)
                    self._hold(frame["key"].to_list(), vectors)
                except OSError:  # of the storage, which may pass
                    continue
                except (ValueError, pl.exceptions.PolarsError):
                    with suppress(OSError):
                        path.unlink()


class TowerEncoder:
    """Texts and photos → vectors, through a model's towers."""

    def __init__(self, model: Encoder | Towers, preprocessor: Preprocessor, folder: Path | None = None, run: Run = map) -> None:
        """`folder` holds the cache, for all models; None: nothing is kept. `run` applies a function to each batch, as `map` does."""
        self.model, self.preprocessor, self.run = model, preprocessor, run
        self.caches: dict[str, TowerCache] = {}
        self.shelves: dict[str, VectorShelf] = {}
        if folder is not None:
            self.caches = {name: TowerCache(own) for name, own in self._folders(folder)}

    def look_up_in(self, folder: Path) -> None:
        """Take what runs over the catalog have made (`folder` is their cache) from its shelves, which hold no memory of this process."""
        self.shelves = {name: VectorShelf(own) for name, own in self._folders(folder)}

    def _folders(self, folder: Path) -> list[tuple[str, Path]]:
        """Where the vectors of each tower are kept, apart from those of others."""
        towers = (("text", self.model.text), ("image", self.model.image))
        return [(name, folder / name / tower_digest(tower, self.preprocessor)) for name, tower in towers if tower is not None]

    def text(self, texts: Sequence[str]) -> Tensor | None:
        """(n, width) float32 on the model's device, rounded through float16; None where the model has no text tower."""
        return self._encode("text", self.model.text, texts, self._texts)

    def image(self, images: Sequence[bytes], owners: Sequence[str] | None = None) -> Tensor | None:
        """As `text`, of encoded photos. Raises DataError naming (by `owners`) a photo that is none."""
        names = dict(zip(images, owners, strict=True)) if owners else {}
        return self._encode("image", self.model.image, images, partial(self._images, names))

    def new_images(self, images: Sequence[bytes]) -> list[int]:
        """Which of the photos the cache does not hold."""
        cache = self.caches.get("image")
        return np.flatnonzero(cache.find([content_key(image) for image in images]) < 0).tolist() if cache else [*range(len(images))]

    def _texts(self, tower: Tower, texts: Sequence[str]) -> Iterator[Job]:
        """Batches of TOKENS, texts of one length together: each is padded by its own number of tokens, whatever shares its batch."""
        for first in range(0, len(texts), TOKENISED):
            batch = self.preprocessor.preprocess(texts[first : first + TOKENISED], [])
            tokens, mask = batch["tokens"], batch["token_mask"]
            width = (-(-mask.sum(1) // PADDED) * PADDED).clamp(max=self.preprocessor.max_tokens).numpy()
            tokens, mask = (functional.pad(each, (0, max(0, int(width.max()) - each.shape[1]))) for each in (tokens, mask))
            for length in np.unique(width).tolist():
                of_length, size = np.flatnonzero(width == length), max(1, TOKENS // length)
                for rows in np.split(of_length, range(size, len(of_length), size)):
                    yield first + rows, partial(self._text, tower, tokens[rows, :length], mask[rows, :length])

    def _text(self, tower: Tower, tokens: Tensor, mask: Tensor) -> Tensor:
        return tower(tokens.to(self._device), mask.to(self._device))

    def _images(self, names: dict[bytes, str], tower: Tower, images: Sequence[bytes]) -> Iterator[Job]:
        """Batches of PIXELS."""
        size = max(1, PIXELS // (self.preprocessor.image or {"size": 1})["size"] ** 2)
        for first in range(0, len(images), size):
            items = images[first : first + size]
            asked = [names.get(item, f"image {first + i}") for i, item in enumerate(items)]
            yield first + np.arange(len(items)), partial(self._image, tower, items, asked)

    def _image(self, tower: Tower, items: Sequence[bytes], names: Sequence[str]) -> Tensor:
        return tower(self.preprocessor.preprocess([], items, names)["pixels"].to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _encode(
        self, kind: str, tower: Tower | None, items: Sequence[Any], jobs: Callable[[Tower, Sequence[Any]], Iterator[Job]]
    ) -> Tensor | None:
        if tower is None:
            return None
        if not items:
            return torch.zeros(0, tower.width, device=self._device)
        keys = [text_key(item) if isinstance(item, str) else content_key(item) for item in items]
        cache = self.caches.get(kind) or TowerCache()
        rows = cache.find(keys)
        if (rows < 0).any() and kind in self.shelves:
            wanted = list({keys[i]: None for i in np.flatnonzero(rows < 0)})
            there, vectors = self.shelves[kind].find(wanted)
            cache.put([key for key, found in zip(wanted, there, strict=True) if found], vectors)
            rows = cache.find(keys)
        if (rows < 0).any():
            missing = sorted(
                {keys[i]: items[i] for i in np.flatnonzero(rows < 0).tolist()}.items()
            )  # so that nothing depends on their order
            cache.put([key for key, _ in missing], self._made(jobs(tower, [item for _, item in missing]), len(missing), tower.width))
            rows = cache.find(keys)
        return torch.from_numpy(cache.take(rows).astype(np.float32)).to(self._device)

    def _made(self, jobs: Iterator[Job], count: int, width: int) -> np.ndarray:
        """float16 vectors of `count` items, (count, width)."""
        vectors = np.empty((count, width), np.float16)
        for rows, found in self.run(vectors_of, jobs):
            vectors[rows] = found
        return vectors


def vectors_of(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """A job's places and their float16 vectors."""
    rows, forward = job
    with torch.inference_mode():
        return rows, forward().float().cpu().numpy().astype(np.float16)


def tower_digest(tower: Tower, preprocessor: Preprocessor) -> str:
    """SHA-256 of whatever decides a tower's outputs: its weights and their precision, its shape, its device, the preprocessing."""
    digest = hashlib.sha256(tower.encoder.config.to_json_string().encode())
    digest.update(next(tower.parameters()).device.type.encode())
    if preprocessor.tokenizer is not None:
        digest.update(preprocessor.tokenizer.backend_tokenizer.to_str().encode())
    digest.update(f"{preprocessor.max_tokens} {preprocessor.image}".encode())
    for name, value in sorted(tower.state_dict().items()):
        digest.update(f"{name} {value.dtype}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()
