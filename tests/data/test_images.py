import struct
import zlib
from pathlib import Path
from typing import Any

import polars as pl

from plcp.data.contract import Dataset, open_dataset
from tests.conftest import photo
from tests.data.shop_tables import GOOD, LENIENT, write


def broken_photos(root: Path) -> dict[str, tuple[Any, str | None, str | None]]:
    """By SKU: image, image_path, and a word of the reason (None for a good one)."""
    small = photo((0, 0, 0))
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + small[24:29]
    bomb = small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:]
    (root / "photos").mkdir(parents=True)
    (root / "photos" / "good.png").write_bytes(photo((1, 2, 3)))
    (root / "photos" / "empty.jpg").write_bytes(b"")
    (root.parent / "secret.png").write_bytes(photo((1, 2, 3)))
    (root / "photos" / "link.png").symlink_to(root.parent / "secret.png")
    return {
        "good bytes": (photo((9, 9, 9)), None, None),
        "good path": (None, "photos/good.png", None),
        "none": (None, None, None),
        "zero bytes": (b"", None, "0 bytes"),
        "page": (b"\n<!DOCTYPE html><html>404</html>", None, "HTML"),
        "noise": (b"\x00\x01\x02 no image", None, "not an image"),
        "truncated": (photo((9, 9, 9))[:20], None, "not an image"),
        "bomb": (bomb, None, "pixels"),
        "empty file": (None, "photos/empty.jpg", "0 bytes"),
        "lost": (None, "photos/lost.png", "no such image"),
        "escape": (None, "../secret.png", "leaves the data folder"),
        "link": (None, "photos/link.png", "leaves the data folder"),
        "absolute": (None, "/etc/passwd", "leaves the data folder"),
    }


def test_products_stay_without_photos_that_are_none(tmp_path: Path) -> None:
    cases = broken_photos(tmp_path / "data")
    products = pl.DataFrame(
        {
            "sku_id": list(cases),
            "title": ["x"] * len(cases),
            "image": [c[0] for c in cases.values()],
            "image_path": [c[1] for c in cases.values()],
        },
        schema_overrides={"image": pl.Binary},
    )
    data = write(tmp_path / "data", {"products": products, "sales": GOOD["sales"]})
    dataset = open_dataset(data, LENIENT, tmp_path / "quarantine")
    rows = dict(dataset.tables["products"].select("sku_id", "image").collect().iter_rows())
    assert {sku for sku, photos in rows.items() if photos} == {"good bytes", "good path"}
    assert rows["good path"] == [photo((1, 2, 3))]
    aside = pl.read_parquet(tmp_path / "quarantine" / "products.parquet")
    assert set(aside["outcome"]) == {"emptied"}
    reasons = {list(cases)[row]: reason for row, reason in aside.select("row", "reason").iter_rows()}
    assert set(reasons) == {sku for sku, case in cases.items() if case[2]}
    for sku, reason in reasons.items():
        assert cases[sku][2] in reason


def test_of_several_photos_the_good_ones_are_kept() -> None:
    image = pl.Series("image", [[photo((1, 1, 1)), b"", photo((2, 2, 2))], None], dtype=pl.List(pl.Binary))
    dataset = Dataset.of({**GOOD, "products": GOOD["products"].with_columns(image)}, LENIENT)
    assert dataset.tables["products"].collect()["image"].to_list() == [[photo((1, 1, 1)), photo((2, 2, 2))], None]
    assert [(p.check, p.outcome) for p in dataset.report.problems] == [("image", "emptied")]
