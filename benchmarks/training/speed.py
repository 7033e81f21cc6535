"""How fast `plcp train` learns beside a bare torch loop and the transformers Trainer, how it scales, and how long it waits for data.

    make bench NAME=training.speed                                a simulated shop of 1,000 products
    make bench NAME=training.speed ARGS='--skus 300'              a smaller one; its figures are printed, not kept

Same model, batch size, precision (fp32), loss and optimizer (AdamW, gradients clipped); ZeRO-1 for `plcp train` and the Trainer. The peers'
batches lie ready in memory, the loop reads its own. Presets: tiny (104 weeks, texts to 32 tokens, 32² pixels) with 512 cases a step, as
`plcp train` takes them if nothing is said, and base (64 tokens, 64² pixels) with 64. Start-up does not count, nor do the first steps.
"""

import os
import tempfile
from pathlib import Path

import psutil

from benchmarks.data.prepare import plcp_prepare
from benchmarks.data.shop import sized
from benchmarks.measure import apart
from benchmarks.results import Figure, write_results
from benchmarks.training import contestants
from plcp.data.simulator import stream
from plcp.data.simulator.config import SimulatorConfig
from plcp.training.runs import TrainConfig

SKUS, IMAGE_SIZE = 1000, 64
PRESETS = {"tiny": (512, 30), "base": (64, 24)}  # cases a step, steps
OF_BARE, OF_TRAINER, EFFICIENCY, MOST_WAITING = 0.95, 1.0, 0.85, 0.02


def simulated(folder: Path, skus: int) -> None:
    """A shop with a photo for every product."""
    stream.simulate(SimulatorConfig(skus=skus, weeks=104, images=1, image_size=IMAGE_SIZE), folder, lambda done, total: None)


def config_of(preset: str, batch: int, steps: int, workers: int, threads: int) -> TrainConfig:
    """A run of nothing but steps: `batch` cases each over all workers, and one batch validated at the end."""
    run = {"steps": steps, "refit_steps": 0, "validate_every": steps, "validation_cases": 1, "log_every": 5}
    return TrainConfig.model_validate(
        {"model": {"preset": preset}, "loader": {"batch_size": batch}, "workers": workers, "cpus_per_worker": threads, **run}
    )


def side_by_side(prepared: Path, preset: str) -> list[Figure]:
    """One worker on all processors, beside its peers."""
    threads = len(os.sched_getaffinity(0))
    config = config_of(preset, *PRESETS[preset], workers=1, threads=threads)
    bare = apart(contestants.bare, prepared, config, threads).value
    ours, waiting = apart(contestants.plcp, prepared, config).value
    trainer = apart(contestants.trainer, prepared, config, threads).value
    name = f"plcp train, {preset}, one worker of {threads} threads"
    return [
        ratio(f"{name}, beside a bare torch loop", ours, bare, OF_BARE),
        ratio(f"{name}, beside the transformers Trainer", ours, trainer, OF_TRAINER),
        Figure(f"{name}: waiting for data", round(waiting, 5), "", target=f"< {MOST_WAITING}", met=waiting < MOST_WAITING),
    ]


def scaling(prepared: Path, preset: str) -> list[Figure]:
    """Two workers of a thread each, and the same work for each, beside one."""
    batch, steps = PRESETS[preset]
    one, _ = apart(contestants.plcp, prepared, config_of(preset, batch, steps, workers=1, threads=1)).value
    two, _ = apart(contestants.plcp, prepared, config_of(preset, 2 * batch, steps, workers=2, threads=1)).value
    return [ratio(f"plcp train, {preset}, two workers of one thread, beside twice one", two, 2 * one, EFFICIENCY)]


def ratio(name: str, ours: float, reference: float, target: float) -> Figure:
    share = ours / reference
    return Figure(name, round(ours, 1), "cases/s", round(reference, 1), round(share, 3), f"≥ {target} × as many", share >= target)


def main() -> None:
    skus = sized(__doc__, SKUS).parse_args().skus
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        simulated(Path(folder) / "shop", skus)
        plcp_prepare(Path(folder) / "shop", prepared)
        figures = [figure for preset in PRESETS for figure in side_by_side(prepared, preset)]
        figures += scaling(prepared, "base")
    figures.append(Figure("load of the machine before it", round(load, 2), "processes"))
    write_results("training_speed", figures, whole=skus == SKUS)


if __name__ == "__main__":
    main()
