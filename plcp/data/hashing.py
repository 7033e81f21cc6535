"""Category paths and brands as hash buckets: any value has a place, whatever the training data held."""

import json
import zlib
from collections.abc import Iterable, Sequence

import numpy as np

HASHED = ("category_1", "category_2", "category_3", "brand")
ATTRIBUTES = 8  # places for a product's further properties
BUCKETS = 4096  # 0 is missing
POOLS = 256  # pool 0 is the whole shop; others are categories, hashed so that a pool never depends on later products


def bucket_of(names: Iterable[str], buckets: int) -> dict[str, int]:
    """Bucket from 1 on of each name; 0 for the empty one."""
    return {name: 1 + zlib.crc32(name.encode()) % (buckets - 1) if name else 0 for name in set(names)}


def levels(category: str | None) -> list[str]:
    """Levels of a path "A > B > C", each with those above it: "Home > Other" is not "Garden > Other"."""
    parts = [part.strip() for part in (category or "").split(">") if part.strip()]
    return [" > ".join(parts[: k + 1]) for k in range(len(parts))]


def hash_products(categories: Sequence[str | None], brands: Sequence[str | None]) -> np.ndarray:
    """Buckets of each product's first three category levels and its brand, (n, len(HASHED)) int64."""
    paths = {category: [*levels(category), "", "", ""][:3] for category in set(categories)}
    names = [(*paths[c], f"brand:{b}" if b else "") for c, b in zip(categories, brands, strict=True)]
    bucket = bucket_of((name for row in names for name in row), BUCKETS)
    return np.array([[bucket[name] for name in row] for row in names], np.int64).reshape(-1, len(HASHED))


def pool_of(categories: Sequence[str | None]) -> np.ndarray:
    """Pool of each category path's first level, (n,) int64; 0 where there is none."""
    firsts = {category: [*levels(category), ""][0] for category in set(categories)}
    bucket = bucket_of(firsts.values(), POOLS)
    return np.array([bucket[firsts[c]] for c in categories], np.int64)


def hash_attributes(attributes: Sequence[str | None]) -> np.ndarray:
    """Buckets of each product's key=value pairs, (n, ATTRIBUTES) int64, 0 where empty.

    A key has its place, or the next free one; whatever value it takes has a bucket. Of more than ATTRIBUTES pairs the first keys count.
    """
    pairs = {text: pairs_of(text) for text in set(attributes)}
    bucket = bucket_of((f"{key}={value}" for found in pairs.values() for key, value in found), BUCKETS)
    rows = {}
    for text, found in pairs.items():
        row = [0] * ATTRIBUTES
        for key, value in found[:ATTRIBUTES]:
            place = zlib.crc32(key.encode()) % ATTRIBUTES
            while row[place]:
                place = (place + 1) % ATTRIBUTES
            row[place] = bucket[f"{key}={value}"]
        rows[text] = row
    return np.array([rows[text] for text in attributes], np.int64).reshape(-1, ATTRIBUTES)


def pairs_of(text: str | None) -> list[tuple[str, str]]:
    """Key and value of each property in a JSON object, keys ascending; those without a value are left out, other text is one value."""
    if not text:
        return []
    try:
        content = json.loads(text)
    except ValueError:
        content = text
    content = content if isinstance(content, dict) else {"": content}
    return sorted((key, json.dumps(value, sort_keys=True)) for key, value in content.items() if value not in (None, ""))
