"""Product photos: reading them from the table or from disk, and telling what is none."""

import io
from pathlib import Path
from typing import Any

import polars as pl
from PIL import Image, UnidentifiedImageError

MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 89_478_485  # Pillow's bound: a larger one is a decompression bomb, not a product photo
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def fault(photo: bytes | Path, max_pixels: int = MAX_PIXELS) -> str | None:
    """Why this is no usable photo, or None. Reads the header alone, so that a huge image is never decoded."""
    head = photo[:512] if isinstance(photo, bytes) else _head(photo)
    if head is None:
        return "no such image file"
    if not head:
        return "image of 0 bytes"
    if head.lstrip().startswith(b"<"):
        return "HTML or XML in place of an image"
    try:
        with Image.open(io.BytesIO(photo) if isinstance(photo, bytes) else photo, formats=FORMATS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        return f"image of more than {max_pixels:,} pixels"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return "not an image (JPEG, PNG, WebP, GIF, BMP or TIFF)"
    return f"image of {width} × {height} pixels, more than {max_pixels:,}" if width * height > max_pixels else None


def _head(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(512)
    except OSError:
        return None


def _candidates(row: dict[str, Any], root: Path) -> list[bytes | Path | str]:
    """A product's photos as they are given: bytes, a path below the root, or (a string) why its path is refused."""
    image, path = row.get("image"), row.get("image_path")
    if image is not None:
        return [photo for photo in (image if isinstance(image, list) else [image]) if photo is not None]
    if path is None:
        return []
    below = (root / path).resolve()
    return [below if below.is_relative_to(root.resolve()) else "image_path leaves the data folder"]


def faults(rows: pl.Series, root: Path) -> pl.Series:
    """The first fault of each row's photos, null where there is none. `rows` is a struct of image and image_path."""
    found = []
    for row in rows:
        reasons = (c if isinstance(c, str) else fault(c) for c in _candidates(row, root))
        found.append(next((reason for reason in reasons if reason), None))
    return pl.Series(found, dtype=pl.String)


def photos(rows: pl.Series, root: Path) -> pl.Series:
    """Each row's usable photos as a list of encoded bytes, null where there is none."""
    found = []
    for row in rows:
        usable = [c for c in _candidates(row, root) if not isinstance(c, str) and fault(c) is None]
        found.append([c if isinstance(c, bytes) else c.read_bytes() for c in usable] or None)
    return pl.Series(found, dtype=pl.List(pl.Binary))
