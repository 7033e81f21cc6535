import io
from pathlib import Path

import numpy as np
from PIL import Image

from plcp.data.simulator.images import COLOURS
from tests.data.simulator.conftest import CONFIG, table


def pixels(photo: bytes) -> np.ndarray:
    image = Image.open(io.BytesIO(photo))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB")).astype(float)


def test_every_product_has_its_photos_of_the_size_asked_for(shop: Path) -> None:
    for photos in table(shop, "products")["image"]:
        assert len(photos) == CONFIG.images
        assert {pixels(p).shape for p in photos} == {(CONFIG.image_size, CONFIG.image_size, 3)}
        assert photos[0] != photos[1]


def test_the_photo_shows_the_colour_that_the_title_leaves_out(shop: Path) -> None:
    """The most saturated third of the pixels lies nearest to the product's own colour."""
    found = table(shop, "products").join(table(shop, "truth/products"), on="sku_id")
    palette = np.array(COLOURS, float)
    hits = 0
    for photos, colour in found.select("image", "colour").iter_rows():
        seen = pixels(photos[0]).reshape(-1, 3)
        far = np.abs(seen - seen[0]).sum(1)
        body = np.median(seen[far > 0.8 * far.max()], axis=0)
        hits += int(np.abs(palette - body).sum(1).argmin() == colour)
    assert hits / found.height > 0.75


def test_no_photos_are_drawn_where_none_are_asked_for(history: object) -> None:
    from plcp.data.simulator.catalog import products_table
    from plcp.data.simulator.history import run

    plain = CONFIG.model_copy(update={"images": 0, "skus": 10})
    assert "image" not in products_table(plain, run(plain, 0), 0).columns
