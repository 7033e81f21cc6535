"""Products as the model reads them, kept ready: what a request by SKU needs beside a pass through the model."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from plcp.base import DataError
from plcp.data.features import Arrays, inputs
from plcp.data.shards import Shard
from plcp.forecast.forecaster import Forecaster, first_weeks
from plcp.forecast.recorded import Batch, Forward, recorded
from plcp.forecast.values import CALIBRATED_BY, WEEK, Values, calibrated
from plcp.serving.batching import BatchConfig


@dataclass(eq=False)
class Case:
    """One product at an origin. Where `reason` says why it cannot be forecast, there is nothing else.

    `numbers` holds all its float inputs, one after the other, and behind them the towers' vectors once a pass has made them.
    """

    sku_id: str
    origin: np.datetime64
    start: np.datetime64  # first week forecast
    reason: str = ""
    numbers: np.ndarray = field(default_factory=partial(np.zeros, 0, np.float32))
    hashed: np.ndarray = field(default_factory=partial(np.zeros, 0, np.int64))
    has_text: bool = False
    has_photo: bool = False
    text: str | None = None  # still to be encoded
    photo: bytes | None = None  # still to be encoded
    lasting: bool = False  # decided by the state of the catalog alone, so that it may be kept


class Packer:
    """From rows of a shard to cases, and from cases to what a model says of them."""

    def __init__(self, forecaster: Forecaster) -> None:
        self.forecaster = forecaster
        model, widths = forecaster.artifact.model, forecaster.artifact.model.widths
        self._shapes: dict[str, tuple[int, ...]] = {
            "history": (widths.weeks, widths.channels),
            "future": (widths.horizon, widths.future),
            "calendar_history": (widths.weeks, widths.calendar),
            "calendar_future": (widths.horizon, widths.calendar),
            "age": (),
            "numeric": (widths.numeric,),
            "pool": (widths.horizon, widths.pool),
            "due": (widths.horizon, widths.due),
        }
        if widths.vector:
            self._shapes["vector"] = (widths.vector,)
        for name, tower in (("text_vector", model.text), ("image_vector", model.image)):
            if tower is not None:
                self._shapes[name] = (tower.width,)
        edges = np.cumsum([0, *(prod(shape) for shape in self._shapes.values())]).tolist()
        self._places = {name: slice(*edges[i : i + 2]) for i, name in enumerate(self._shapes)}
        self._width = int(edges[-1])
        self._recorded: Forward | None = None
        self._encoding = Lock()
        self.case_bytes = 4 * self._width + 8 * widths.hashed

    def cases(self, shard: Shard) -> list[Case]:
        """Its rows, in their order, as known at the end of its weeks."""
        at = shard.timeline.weeks
        starts, reasons = first_weeks(shard, at)
        origin = np.datetime64(shard.timeline.date(at), "D")
        found = [Case(*row) for row in zip(shard.sku_id, origin + 0 * starts, origin + (starts - at) * WEEK, reasons, strict=True)]
        rows = np.flatnonzero(reasons == "")
        if len(rows):
            self._fill([found[row] for row in rows], inputs(shard, rows, np.full(len(rows), at), starts[rows], self.forecaster.spec))
        return found

    def _fill(self, cases: Sequence[Case], arrays: Arrays) -> None:
        for i, case in enumerate(cases):
            case.numbers, case.hashed = np.zeros(self._width, np.float32), arrays["hashed"][i].copy()
            for name, place in self._places.items():
                if name in arrays:
                    case.numbers[place] = arrays[name][i].reshape(-1)
            text, image = int(arrays["text"][i]), int(arrays["image"][i])
            case.has_text, case.has_photo = text >= 0, image >= 0
            case.text = arrays["texts"][text] if case.has_text and "text_vector" in self._shapes else None
            case.photo = arrays["images"][image] if case.has_photo and "image_vector" in self._shapes else None

    def values(self, cases: Sequence[Case]) -> Values:
        """What is forecast of cases that can be, by one pass through the model, and through its towers for what is new to them."""
        self._encode(cases)
        batch = self.batch(cases)
        out = self.forward(batch)
        origins, starts = (np.array([getattr(case, name) for case in cases], "datetime64[D]") for name in ("origin", "start"))
        known = {name: batch[name].cpu().numpy() for name in CALIBRATED_BY}
        return calibrated(out, known, self.forecaster.spec, origins, starts, self.forecaster.artifact.calibration)

    def forward(self, batch: Batch) -> Arrays:
        """LifeCycleModel.forward, recorded with the first batch that is asked for."""
        if self._recorded is None:
            self._recorded = recorded(self.forecaster.artifact.model, batch)
        return self.forecaster.forward(batch, self._recorded)

    def load(self, limits: BatchConfig, cases: Sequence[Case]) -> np.ndarray:
        """How much of a pass some cases take up: rows, tokens and pixels (3,), as shares of the limits. A token is at least a byte."""
        preprocessor = self.forecaster.artifact.preprocessor
        texts = [text for case in cases if (text := case.text) is not None]  # read once: a pass of another thread may be encoding it
        tokens = sum(min(preprocessor.max_tokens, len(text.encode())) for text in texts)
        pixels = sum(preprocessor.image["size"] ** 2 for case in cases if case.photo is not None) if preprocessor.image else 0
        return np.array([len(cases) / limits.rows, tokens / limits.tokens, pixels / limits.pixels])

    def batch(self, cases: Sequence[Case]) -> Batch:
        """What LifeCycleModel.forward takes, on its device, each case with its own row of the towers' vectors."""
        numbers = np.stack([case.numbers for case in cases])
        arrays: Arrays = {name: numbers[:, place].reshape(-1, *self._shapes[name]) for name, place in self._places.items()}
        arrays["hashed"] = np.stack([case.hashed for case in cases])
        row = np.arange(len(cases))
        arrays["text"] = np.where([case.has_text for case in cases], row, -1)
        arrays["image"] = np.where([case.has_photo for case in cases], row, -1)
        return {name: torch.from_numpy(value).to(self._device) for name, value in arrays.items()}

    def _encode(self, cases: Sequence[Case]) -> None:
        """Fill in the towers' vectors of the cases that still lack them, each once: one SKU may be asked for twice, in two passes."""
        if any(case.text is not None or case.photo is not None for case in cases):
            with self._encoding:
                self._encode_new(cases)

    def _encode_new(self, cases: Sequence[Case]) -> None:
        if texts := {id(case): case for case in cases if case.text is not None}:
            vectors = self.forecaster.encoder.text([case.text or "" for case in texts.values()])
            self._keep("text_vector", list(texts.values()), vectors)
            for case in texts.values():
                case.text = None
        if photos := {id(case): case for case in cases if case.photo is not None}:
            self._encode_photos(list(photos.values()))

    def _encode_photos(self, cases: Sequence[Case]) -> None:
        """A photo that turns out to be broken counts as missing, as in the weekly run."""
        try:
            self._keep("image_vector", cases, self.forecaster.encoder.image([case.photo or b"" for case in cases]))
        except DataError:
            if len(cases) > 1:
                for case in cases:
                    self._encode_photos([case])
                return
            cases[0].has_photo = False
        for case in cases:
            case.photo = None

    def _keep(self, name: str, cases: Sequence[Case], vectors: Tensor | None) -> None:
        for case, vector in zip(cases, vectors.cpu().numpy() if vectors is not None else (), strict=True):
            case.numbers[self._places[name]] = vector

    @property
    def _device(self) -> torch.device:
        return torch.device(self.forecaster.config.device)


class CaseCache:
    """The cases asked for last, by SKU, as many as fit; of one state of the catalog, whose successor begins anew."""

    def __init__(self, limit: int) -> None:
        """`limit` is the number of cases kept."""
        self.limit, self.hits, self.misses = limit, 0, 0
        self._of: object = None
        self._cases: OrderedDict[str, Case] = OrderedDict()

    def __len__(self) -> int:
        return len(self._cases)

    def find(self, state: object, sku_ids: Sequence[str]) -> list[Case | None]:
        """The case of each SKU that is held, in order."""
        if state != self._of:
            self._of = state
            self._cases.clear()
        found = [self._cases.get(sku) for sku in sku_ids]
        for case in found:
            if case is not None:
                self._cases.move_to_end(case.sku_id)
        misses = found.count(None)
        self.hits, self.misses = self.hits + len(found) - misses, self.misses + misses
        return found

    def keep(self, state: object, cases: Sequence[Case]) -> None:
        """Those of the cases that last, unless a text or a photo is still to be encoded: the limit counts on its being gone."""
        if state != self._of:
            return
        self._cases.update((case.sku_id, case) for case in cases if case.lasting and case.text is None and case.photo is None)
        while len(self._cases) > self.limit:
            self._cases.popitem(last=False)
