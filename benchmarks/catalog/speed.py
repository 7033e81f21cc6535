"""How fast `plcp score` is, beside the bare forward pass, Ray Data and sentence-transformers, all in one run on two cores in bf16.

    make bench NAME=catalog.speed
    make bench NAME=catalog.speed ARGS='--skus 4000 --rounds 1'     a smaller catalog; its figures are printed, not kept

`base` with MiniLM as its text tower (titles, descriptions and reviews cut to 32 tokens) and `tiny`, 104 weeks, horizon 26; a simulated
catalog without photos, models of random weights. Every figure is the best of `rounds`, which go through all contenders in turn, so that
a machine that is slower for a while is so for all of them.
"""

import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch

from benchmarks.catalog import bare, ours
from benchmarks.catalog.ray_data import Straightforward, Tuned
from benchmarks.catalog.ray_data import seconds as ray_data_seconds
from benchmarks.catalog.scene import THREADS, TOKENS, copied, make_catalog, make_model, minilm, retitled, sized
from benchmarks.catalog.sentence import encode_seconds
from benchmarks.results import Figure, write_results
from plcp.data.prepared import Prepared
from plcp.forecast import artifact

SKUS, SKUS_PER_SHARD, ROUNDS, PRECISION = 16_000, 2000, 2, "bf16"
CHANGED = 0.02  # of the titles in a second week
OF_BARE, OF_PLAIN, OF_PLAIN_CACHED, OF_TUNED, OF_ENCODE, OF_SECOND_WEEK = 0.90, 1.2, 2.0, 1.0, 0.85, 1.15


@dataclass
class Times:
    """Seconds of each contender, round by round, for catalogs of `skus` products."""

    skus: int
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, seconds: float) -> None:
        print(f"{name:45s} {seconds:8.2f} s {self.skus / seconds:10.0f} SKUs/s", flush=True)
        self.seconds[name].append(seconds)

    def best(self, name: str) -> float:
        return min(self.seconds[name])

    def rate(self, name: str) -> float:
        return self.skus / self.best(name)


def measure_bare(times: Times, preset: str, model: Path, catalog: Path) -> None:
    """In this process, on batches that lie ready."""
    loaded = artifact.load(model, "cpu", torch.bfloat16)
    found = bare.cases(Prepared.open(catalog), loaded, times.skus)
    share = times.skus / len(found["age"])  # products that cannot be forecast cost no forward pass; as if all could
    for cached in (False, True):
        ready = bare.batches(loaded, found, cached)
        times.add(f"{preset} bare forward{', cached tower' if cached else ''}", share * bare.forward(loaded, ready, THREADS))
        if preset == "base" and not cached:
            times.add("tower alone, batches in memory", share * bare.tower(loaded, ready, THREADS))
    if preset == "base":
        times.add("sentence-transformers encode", share * encode_seconds(minilm(), found["texts"], TOKENS))


@contextmanager
def warm(root: Path, model: Path, catalog: Path, cache: Path | None) -> Iterator[ours.CatalogConfig]:
    """A replica that has loaded the model and scored a shard of other titles."""
    config = ours.settings(PRECISION, THREADS, cache)
    with tempfile.TemporaryDirectory(dir=root) as folder, ours.cluster(THREADS), ours.replica(config):
        other = copied(catalog, Path(folder) / "warm", retitled("warm", 1.0), shards=1)
        ours.seconds(model, other, Path(folder) / "scores", config)
        yield config


def measure_ours(times: Times, preset: str, model: Path, catalog: Path, second_week: Path, root: Path) -> None:
    """A first week that fills an empty cache, the same again from the full one, and a second week."""
    with tempfile.TemporaryDirectory(dir=root) as folder:
        cache = Path(folder) / "cache"
        for name, week in (("", catalog), (", cached tower", catalog), (", second week", second_week)):
            with warm(root, model, catalog, cache) as config:
                times.add(f"{preset} plcp score{name}", ours.seconds(model, week, Path(folder) / f"scores{name}", config))
        measure_ray_data(times, preset, model, catalog, Path(folder), cache)


def measure_ray_data(times: Times, preset: str, model: Path, catalog: Path, root: Path, cache: Path) -> None:
    for kind in (Straightforward, Tuned):
        for kept in (None, cache):
            with ours.cluster(THREADS):
                name = f"{preset} Ray Data, {kind.__name__.lower()}{', cached tower' if kept else ''}"
                seconds = ray_data_seconds((catalog, model), root / name, kind, PRECISION, THREADS, kept)
                times.add(name, seconds)


def at_least(name: str, times: Times, ours_: str, reference: str, target: float) -> Figure:
    """SKUs a second of one contender beside another's."""
    ratio = times.rate(ours_) / times.rate(reference)
    rate, other = round(times.rate(ours_)), round(times.rate(reference))
    return Figure(name, rate, "SKUs/s", other, round(ratio, 3), f"≥ {target} × {reference}", ratio >= target)


def figures(times: Times, load: float) -> list[Figure]:
    cached, score = ", cached tower", "plcp score"
    found = [Figure(name, round(times.rate(name)), "SKUs/s") for name in times.seconds]
    for preset in ("base", "tiny"):
        mine = f"{preset} {score}"
        for kind, note in (("", "tower running"), (cached, "cached tower")):
            found.append(
                at_least(f"{preset}, {note}, of the bare forward pass", times, mine + kind, f"{preset} bare forward{kind}", OF_BARE)
            )
            plain = OF_PLAIN_CACHED if kind else OF_PLAIN
            found.append(at_least(f"{preset}, {note}, of Ray Data", times, mine + kind, f"{preset} Ray Data, straightforward{kind}", plain))
            found.append(at_least(f"{preset}, {note}, of tuned Ray Data", times, mine + kind, f"{preset} Ray Data, tuned{kind}", OF_TUNED))
    found.append(at_least("first week, of sentence-transformers", times, f"base {score}", "sentence-transformers encode", OF_ENCODE))
    least = times.best(f"base {score}{cached}") + CHANGED * times.best("tower alone, batches in memory")
    second = times.best(f"base {score}, second week")
    ratio = second / least
    met = ratio <= OF_SECOND_WEEK
    target = f"≤ {OF_SECOND_WEEK} × (history pass + tower for {CHANGED:.0%})"
    found.append(Figure("second week", round(second, 2), "s", round(least, 2), round(ratio, 3), target, met))
    return [*found, Figure("load of the machine before it", round(load, 2), "processes")]


def main() -> None:
    parser = sized(__doc__, SKUS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        catalog = make_catalog(root, options.skus, SKUS_PER_SHARD)
        second_week = copied(catalog, root / "second-week", retitled("improved", CHANGED))
        models = {preset: make_model(root / preset, catalog, preset) for preset in ("base", "tiny")}
        times = Times(options.skus)
        for _ in range(options.rounds):
            for preset, model in models.items():
                measure_bare(times, preset, model, catalog)
                measure_ours(times, preset, model, catalog, second_week, root)
    write_results("catalog_speed", figures(times, load), whole=(options.skus, options.rounds) == (SKUS, ROUNDS))


if __name__ == "__main__":
    main()
