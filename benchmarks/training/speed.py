"""How fast `plcp train` learns beside a bare torch loop and the transformers Trainer, how it scales, and how long it waits for data.

    make bench NAME=training.speed                                a simulated shop of 1,000 products
    make bench NAME=training.speed ARGS='--skus 300 --rounds 1'   a smaller one; its figures are printed, not kept

Same model, batch size, precision (fp32), loss and optimizer (AdamW, gradients clipped); ZeRO-1 for `plcp train` and the Trainer. The peers'
batches lie ready in memory, the loop reads its own. Presets: tiny (104 weeks, texts to 32 tokens, 32² pixels) with 512 cases a step, as
`plcp train` takes them if nothing is said, and base (64 tokens, 64² pixels) with 64. Start-up does not count, nor do the first steps.
On one thread the model computes on one processor, and reading goes on beside it on another, as on the host of a GPU; on all threads
reading, and Ray's own processes, take their time from the model's processors, which a loop over ready batches does not have to share.
Every figure is the best of `rounds`, which go through all contenders in turn, so that a machine that is slower for a while is so for all.
"""

import itertools
import os
import tempfile
from collections import defaultdict
from dataclasses import dataclass, field
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
PRESETS = {"tiny": (512, 26), "base": (64, 16)}  # cases a step, steps
THREADS = (1, len(os.sched_getaffinity(0)))
SCALED, TWO, ROUNDS = "base", "base, two workers of one thread", 2
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


@dataclass
class Speeds:
    """Cases a second of each contender, round by round, and what `plcp train` waited."""

    rates: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    waiting: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, rate: float) -> None:
        print(f"{name:40s} {rate:8.1f} cases/s", flush=True)
        self.rates[name].append(rate)

    def ours(self, name: str, prepared: Path, config: TrainConfig) -> None:
        rate, waiting = apart(contestants.plcp, prepared, config).value
        self.add(name, rate)
        self.waiting[name] = max(waiting, self.waiting.get(name, 0.0))

    def ratio(self, name: str, ours: str, reference: str, target: float, times: int = 1) -> Figure:
        """The best of all rounds of one beside `times` the other's."""
        best, other = max(self.rates[ours]), times * max(self.rates[reference])
        share = best / other
        return Figure(name, round(best, 1), "cases/s", round(other, 1), round(share, 3), f"≥ {target} × as many", share >= target)


def side_by_side(speeds: Speeds, prepared: Path, preset: str, threads: int) -> None:
    """One worker beside its peers."""
    config, where = config_of(preset, *PRESETS[preset], workers=1, threads=threads), named(preset, threads)
    speeds.add(f"{where}, bare torch loop", apart(contestants.bare, prepared, config, threads).value)
    speeds.ours(f"{where}, plcp train", prepared, config)
    speeds.add(f"{where}, transformers Trainer", apart(contestants.trainer, prepared, config, threads).value)


def named(preset: str, threads: int) -> str:
    return f"{preset}, {threads} {'thread' if threads == 1 else 'threads'}"


def two_workers(speeds: Speeds, prepared: Path) -> None:
    """Of a thread each, with the same work for each as for one."""
    batch, steps = PRESETS[SCALED]
    speeds.ours(TWO, prepared, config_of(SCALED, 2 * batch, steps, workers=2, threads=1))


def figures(speeds: Speeds) -> list[Figure]:
    found = []
    for where in (named(preset, threads) for preset in PRESETS for threads in THREADS):
        name, waited = f"{where}, plcp train", speeds.waiting[f"{where}, plcp train"]
        found += [
            speeds.ratio(f"{name}, beside a bare torch loop", name, f"{where}, bare torch loop", OF_BARE),
            speeds.ratio(f"{name}, beside the transformers Trainer", name, f"{where}, transformers Trainer", OF_TRAINER),
            Figure(f"{name}: waiting for data", round(waited, 5), "", target=f"< {MOST_WAITING}", met=waited < MOST_WAITING),
        ]
    one = f"{named(SCALED, 1)}, plcp train"
    return [*found, speeds.ratio(f"plcp train, {TWO}, beside twice one", TWO, one, EFFICIENCY, times=2)]


def main() -> None:
    parser = sized(__doc__, SKUS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options, load = parser.parse_args(), psutil.getloadavg()[0]
    speeds = Speeds()
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared"
        simulated(Path(folder) / "shop", options.skus)
        plcp_prepare(Path(folder) / "shop", prepared)
        for _ in range(options.rounds):
            for preset, threads in itertools.product(PRESETS, THREADS):
                side_by_side(speeds, prepared, preset, threads)
            two_workers(speeds, prepared)
    last = Figure("load of the machine before it", round(load, 2), "processes")
    write_results("training_speed", [*figures(speeds), last], whole=(options.skus, options.rounds) == (SKUS, ROUNDS))


if __name__ == "__main__":
    main()
