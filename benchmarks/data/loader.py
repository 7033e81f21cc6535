"""Cases a second that the training loader hands over as tensors, and what it costs to save and restore its place.

    make bench NAME=data.loader

104 weeks of history in six channels, 26 of horizon, titles as cached outputs of a frozen tower: all that a training step reads.
"""

import json
import tempfile
import time
from collections import deque
from itertools import islice
from pathlib import Path

import psutil
import torch

from benchmarks.data.prepare import plcp_prepare
from benchmarks.data.shop import make_shop, sized
from benchmarks.results import Figure, write_results
from plcp.data.features import Arrays
from plcp.data.loader import LoaderConfig
from plcp.data.prepared import Prepared
from plcp.data.spec import Spec
from plcp.model.losses import LossConfig
from plcp.model.model import ModelConfig
from plcp.model.preprocess import Preprocessor
from plcp.model.towers import TextTowerConfig
from plcp.training.task import ForecastTask, vocabulary_texts

SKUS, SECONDS, FASTEST = 20_000, 20.0, 50_000
SPEC = Spec(history_weeks=104, horizon=26, channels=("units", "price", "promo", "in_stock", "page_views", "discount"))
SAVES = 1000


def task_on(prepared: Prepared, vectors: Path) -> ForecastTask:
    """As training has it, with a frozen text tower whose outputs are all cached."""
    model = ModelConfig.model_validate({"text": TextTowerConfig(trainable=False), "image": None})
    titles = vocabulary_texts(prepared)  # of so few products, all
    preprocessor = Preprocessor.build(model.text, None, titles)
    task = ForecastTask(
        prepared,
        preprocessor,
        model=model,
        spec=SPEC,
        loader=LoaderConfig(),
        loss=LossConfig(),
        vectors=vectors,
        device=torch.device("cpu"),
    )
    assert task.encoder is not None
    task.encoder.text(titles)
    return task


def speed(task: ForecastTask, seconds: float) -> tuple[float, float]:
    """Cases a second by the clock, and by the processor time of this process, from the second batch on."""
    batches = iter(task.loader("train"))
    next(batches)
    cases, clock, processor = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - clock < seconds:
        batch = next(batches)
        assert batch["history"].shape[1:] == (104, 6)
        assert len(batch["text_vector"])
        cases += len(batch["units"])
    elapsed, used = time.perf_counter() - clock, time.process_time() - processor
    batches.close()
    return cases / elapsed, cases / used


def first_batch(task: ForecastTask, cursor: str | None) -> tuple[float, Arrays]:
    """Seconds until a new loader hands over its first batch, from a saved place or from the beginning."""
    started = time.perf_counter()
    loader = task.loader("train")
    if cursor:
        loader.restore(json.loads(cursor))
    batch = next(iter(loader))
    return time.perf_counter() - started, batch


def resume(task: ForecastTask) -> tuple[float, float, float]:
    """Seconds to save a place, to the first batch of a new loader, and to the first one behind a place late in the first window."""
    loader = task.loader("train")
    steps = loader.count()[1] // 2
    batches = iter(loader)
    deque(islice(batches, steps), maxlen=0)
    started = time.perf_counter()
    for _ in range(SAVES):
        cursor = json.dumps(loader.state())
    saved = (time.perf_counter() - started) / SAVES
    expected = next(batches)
    fresh, _ = first_batch(task, None)
    resumed, found = first_batch(task, cursor)
    assert found["sku_id"] == expected["sku_id"]
    assert torch.equal(found["history"].nan_to_num(-1), expected["history"].nan_to_num(-1))
    return saved, fresh, resumed


def main() -> None:
    parser = sized(__doc__, SKUS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_shop(root / "shop", options.skus)
        plcp_prepare(root / "shop", root / "prepared")
        task = task_on(Prepared.open(root / "prepared"), root / "vectors")
        by_clock, by_processor = speed(task, options.seconds)
        saved, fresh, resumed = resume(task)
    figures = [
        Figure("cases as tensors, one process", round(by_clock), "cases/s", target=f"≥ {FASTEST}", met=by_clock >= FASTEST),
        Figure("cases as tensors, by processor time", round(by_processor), "cases/s"),
        Figure("to save the place", round(1e6 * saved, 2), "µs"),
        Figure("to the first batch from a saved place", round(resumed, 3), "s", round(fresh, 3), round(resumed / fresh, 3)),
        Figure("load of the machine before it", round(load, 2), "processes"),
    ]
    write_results("data_loader", figures, whole=(options.skus, options.seconds) == (SKUS, SECONDS))


if __name__ == "__main__":
    main()
