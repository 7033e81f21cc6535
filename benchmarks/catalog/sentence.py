"""sentence-transformers' own `encode`: the text tower alone, as everybody runs it."""

import time
from collections.abc import Sequence

import torch
from sentence_transformers import SentenceTransformer

BATCHES = (32, 128)  # its default, and one that suits two cores better; the faster one counts


def encode_seconds(source: str, texts: Sequence[str], tokens: int) -> float:
    """Seconds for the texts in bf16, each cut to `tokens`. It sorts them by length itself."""
    model = SentenceTransformer(source, device="cpu", model_kwargs={"dtype": torch.bfloat16})
    model.max_seq_length = tokens
    model.encode(list(texts[:64]))
    return min(timed(model, list(texts), size) for size in BATCHES)


def timed(model: SentenceTransformer, texts: list[str], batch: int) -> float:
    started = time.perf_counter()
    model.encode(texts, batch_size=batch, show_progress_bar=False)
    return time.perf_counter() - started
