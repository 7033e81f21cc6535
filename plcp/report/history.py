"""The past that the report shows beside a forecast, read shard by shard from PREPARED."""

import base64
import io
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

import numpy as np

from plcp.base import DataError
from plcp.data.prepared import Prepared
from plcp.data.shards import Shard
from plcp.data.view import PanelView, shard_view

THUMBNAIL = 84  # pixels, twice the size shown


@dataclass(frozen=True)
class History:
    """The catalog's weekly units before the origin (t,), NaN in closed weeks, and of the products asked for titles, units and a photo."""

    total: np.ndarray
    titles: dict[str, str] = field(default_factory=dict)
    units: dict[str, np.ndarray] = field(default_factory=dict)
    photos: dict[str, str] = field(default_factory=dict)

    def of(self, sku: str, weeks: int) -> np.ndarray:
        """A product's units from its first sale on, at most the last `weeks`."""
        units = self.units.get(sku, np.empty(0))[-weeks:]
        sold = np.flatnonzero(np.nan_to_num(units) > 0)
        return units[sold[0] :] if len(sold) else np.empty(0)


def read_history(prepared: Prepared | None, origin: date, sku_ids: set[str], with_photo: set[str]) -> History:
    """History up to an origin; empty without PREPARED."""
    if prepared is None:
        return History(np.empty(0))
    at = min(prepared.timeline.index(origin), prepared.weeks)
    history = History(np.zeros(at))
    for i in range(len(prepared.shards)):
        shard = prepared.read(i)
        view = shard_view(shard, at)
        history.total[:] += view.units.sum(axis=0)
        history.total[view.closed] = np.nan
        rows = [row for row, sku in enumerate(view.sku_id) if sku in sku_ids]
        _take(history, view, rows)
        _take_photos(history, shard, [row for row in rows if view.sku_id[row] in with_photo], view)
    return history


def _take(history: History, view: PanelView, rows: list[int]) -> None:
    for row, title in zip(rows, view.products["title"].gather(rows), strict=True):
        sku = view.products["sku_id"][row]
        history.units[sku] = np.where(view.closed, np.nan, view.units[row])
        if title:
            history.titles[sku] = title


def _take_photos(history: History, shard: Shard, rows: list[int], view: PanelView) -> None:
    places = np.array(rows, dtype=np.int64)
    announced = view.first[places] >= view.origin
    for row, at in zip(rows, shard.photos_at(places, np.full(len(rows), view.origin), announced), strict=True):
        photos = shard.photos.values["photos"][int(at)] if at >= 0 else []
        if len(photos):
            with suppress(DataError):  # a report does without a photo that cannot be read, as the forecast did
                history.photos[view.products["sku_id"][row]] = thumbnail(photos[0])


def thumbnail(photo: bytes) -> str:
    """A photo made small, as a data URI. Raises DataError where it cannot be read."""
    from plcp.model.preprocess import open_image  # here, as torch comes with it: what shows no photo does not wait

    square = open_image(photo, "photo", THUMBNAIL)
    square.thumbnail((THUMBNAIL, THUMBNAIL))
    data = io.BytesIO()
    square.save(data, "WEBP", quality=70)
    return f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
