"""Texts to tokens and photos to pixels, the same way in training and at scoring."""

import hashlib
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image, ImageOps
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor

from plcp.base import DataError, ModelError
from plcp.data.images import FORMATS, MAX_PIXELS
from plcp.model.towers import TINY, ImageTowerConfig, TextTowerConfig, location

PAD, UNKNOWN = "[PAD]", "[UNK]"
IMAGE_FILE = "image.json"
TEXT_ROOM, PHOTO_ROOM = 64 << 20, 512 << 20  # bytes: 100,000 texts of 64 tokens; 170,000 photos of 32², 3,500 of 224²
HELD = 200  # bytes that a held array takes beside its numbers, its key included


class Recent:
    """What was made of the items met last; the oldest go where there is no more room. For any number of threads."""

    def __init__(self, room: int) -> None:
        """`room`: bytes at most; 0 keeps nothing."""
        self.room = room
        self._held: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._bytes = 0
        self._alone = threading.Lock()

    def of(self, items: Sequence[str | bytes], make: Callable[[list[int]], list[np.ndarray]]) -> list[np.ndarray]:
        """An array for each item; `make` gives those of the places that are not held."""
        if not self.room:
            return make([*range(len(items))])
        keys = [hashlib.sha256(item.encode() if isinstance(item, str) else item).digest() for item in items]
        with self._alone:
            missing = {key: place for place, key in enumerate(keys) if key not in self._held}
            made = dict(zip(missing, make([*missing.values()]), strict=True)) if missing else {}
            found = [made[key] if key in made else self._held[key] for key in keys]
            self._keep(keys, made)
        return found

    def _keep(self, keys: list[bytes], made: dict[bytes, np.ndarray]) -> None:
        self._held.update(made)
        self._bytes += sum(array.nbytes + HELD for array in made.values())
        for key in keys:
            self._held.move_to_end(key)
        while self._bytes > self.room:
            self._bytes -= self._held.popitem(last=False)[1].nbytes + HELD


class Preprocessor:
    """The tokenizer and the image settings that belong to a model's towers."""

    def __init__(self, tokenizer: "transformers.PreTrainedTokenizerBase | None", max_tokens: int, image: dict[str, Any] | None) -> None:
        self.tokenizer, self.max_tokens, self.image = tokenizer, max_tokens, image
        self._texts, self._photos = Recent(0), Recent(0)
        self._map: Callable[..., Iterable[np.ndarray]] = map

    def remember(self, threads: int = 1) -> None:
        """Keep the tokens and pixels of what was met last: in training a product comes again and again. New photos are decoded by so many
        threads."""
        self._texts, self._photos = Recent(TEXT_ROOM), Recent(PHOTO_ROOM)
        if threads > 1:
            self._map = ThreadPoolExecutor(threads).map

    @classmethod
    def build(cls, text: TextTowerConfig | None, image: ImageTowerConfig | None, titles: Iterable[str]) -> "Preprocessor":
        """Load what the towers' sources bring along; for a tiny text tower train a tokenizer on the shop's own titles.

        Raises ModelError where a source cannot be loaded.
        """
        tokenizer = None
        if text is not None:
            tokenizer = train_tokenizer(titles, text.vocabulary) if text.source == TINY else _load_tokenizer(text.source)
        return cls(tokenizer, text.max_tokens if text else 0, None if image is None else _image_settings(image))

    @classmethod
    def load(cls, folder: Path) -> "Preprocessor":
        """What `save` wrote. Raises ModelError where a file is missing."""
        try:
            settings = json.loads((folder / IMAGE_FILE).read_text())
        except (OSError, ValueError) as error:
            raise ModelError(f"{folder / IMAGE_FILE}: cannot be read: {error}") from error
        tokenizer = _load_tokenizer(str(folder)) if settings["max_tokens"] else None
        return cls(tokenizer, settings["max_tokens"], settings["image"])

    def save(self, folder: Path) -> None:
        """Tokenizer files and image settings, all of them text."""
        folder.mkdir(parents=True, exist_ok=True)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(folder)
        (folder / IMAGE_FILE).write_text(json.dumps({"max_tokens": self.max_tokens, "image": self.image}, indent=1))

    @property
    def vocabulary(self) -> int:
        return len(self.tokenizer) if self.tokenizer is not None else 0

    def preprocess(self, texts: Sequence[str], images: Sequence[bytes], owners: Sequence[str] | None = None) -> dict[str, Tensor]:
        """tokens, token_mask (n, length) int64 and pixels (m, 3, size, size) float32, whichever the model has a tower for.

        Without texts or images one empty row stands in, so that every worker runs every tower in every step (a rank that
        skipped one would leave the others waiting for its shard). Raises DataError naming the image (by `owners`) that is none.
        """
        batch: dict[str, Tensor] = {}
        if self.tokenizer is not None:
            batch["tokens"], batch["token_mask"] = padded(self._tokens(self.tokenizer, texts), self.tokenizer.pad_token_id)
        if self.image is not None:
            names = owners if owners is not None else [f"image {i}" for i in range(len(images))]
            size = self.image["size"]
            found = self._photos.of(images, lambda places: [*self._map(lambda i: to_pixels(images[i], names[i], size), places)])
            black = torch.zeros(1, 3, size, size)
            batch["pixels"] = normalised(np.stack(found), self.image["mean"], self.image["std"]) if found else black
        return batch

    def _tokens(self, tokenizer: "transformers.PreTrainedTokenizerBase", texts: Sequence[str]) -> list[np.ndarray]:
        """Of each text, int32; of no text, those of an empty one."""
        options: dict[str, Any] = {"return_attention_mask": False, "return_token_type_ids": False}

        def make(places: list[int]) -> list[np.ndarray]:
            coded = tokenizer([texts[i] for i in places], truncation=True, max_length=self.max_tokens, **options)
            return [np.array(tokens, np.int32) for tokens in coded["input_ids"]]

        return self._texts.of(texts, make) if texts else [np.zeros(0, np.int32)]


def padded(texts: list[np.ndarray], pad: int) -> tuple[Tensor, Tensor]:
    """Tokens and mask, (n, length) int64 each; the longest text sets the length."""
    lengths = np.array([len(tokens) for tokens in texts])
    mask = np.arange(max(1, lengths.max())) < lengths[:, None]
    tokens = np.full(mask.shape, pad, np.int64)
    tokens[mask] = np.concatenate(texts)
    mask[lengths == 0, 0] = True  # attention over no token at all is undefined
    return torch.from_numpy(tokens), torch.from_numpy(mask.astype(np.int64))


def to_pixels(data: bytes, name: str, size: int) -> np.ndarray:
    """One encoded photo → (size, size, 3) uint8. Raises DataError naming it."""
    return np.asarray(open_image(data, name, size).resize((size, size), Image.Resampling.BICUBIC))


def normalised(photos: np.ndarray, mean: list[float], std: list[float]) -> Tensor:
    """(m, size, size, 3) uint8 → (m, 3, size, size) float32."""
    values = np.empty((len(photos), 3, *photos.shape[1:3]), np.float32)
    values[...] = photos.transpose(0, 3, 1, 2)
    values /= 255
    values -= np.array(mean, np.float32)[:, None, None]
    values /= np.array(std, np.float32)[:, None, None]
    return torch.from_numpy(values)


def open_image(data: bytes, name: str, size: int | None = None) -> Image.Image:
    """Decode an untrusted photo to RGB, its first frame, transparency on white.

    A JPEG is decoded at the smallest scale that still covers `size`. Raises DataError naming the photo if it is none, of
    an unexpected format, broken, or larger than MAX_PIXELS.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as photo:
            if photo.width * photo.height > MAX_PIXELS:
                raise DataError(f"{name}: {photo.width} × {photo.height} pixels, more than the {MAX_PIXELS:,} allowed")
            if size is not None:
                photo.draft("RGB", (size, size))
            see_through = "A" in photo.getbands() or "transparency" in photo.info
            upright = ImageOps.exif_transpose(photo).convert("RGBA" if see_through else "RGB")
            if see_through:
                upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
            return upright
    except DataError:
        raise
    except Exception as error:  # Pillow raises whatever its decoders meet: OSError, SyntaxError, struct.error …
        raise DataError(f"{name}: not an image that can be read ({', '.join(FORMATS)}): {error}") from error


def train_tokenizer(titles: Iterable[str], vocabulary: int) -> "transformers.PreTrainedTokenizerFast":
    """A byte-level BPE (Sennrich et al. 2016) on the shop's own words: any script, no unknown characters."""
    tokenizer = Tokenizer(models.BPE(unk_token=None))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[PAD, UNKNOWN], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sorted(set(titles)), trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, unk_token=UNKNOWN)


def _load_tokenizer(source: str) -> "transformers.PreTrainedTokenizerBase":
    name, local = location(source)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{source}: no usable tokenizer: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    tokenizer.padding_side = "right"
    return tokenizer


def _image_settings(config: ImageTowerConfig) -> dict[str, Any]:
    """Size, mean and standard deviation of pixels: a loaded model's own preprocessor_config.json where it has one."""
    half = [0.5, 0.5, 0.5]
    if config.source == TINY:
        return {"size": config.size, "mean": half, "std": half}
    name, local = location(config.source)
    try:
        loaded = transformers.AutoConfig.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{config.source}: no usable image model: {error}") from error
    vision = getattr(loaded, "vision_config", loaded)
    own = Path(config.source) / "preprocessor_config.json"
    given = json.loads(own.read_text()) if own.is_file() else {}
    return {"size": int(vision.image_size), "mean": given.get("image_mean", half), "std": given.get("image_std", half)}
