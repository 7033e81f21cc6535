"""How fast the online service is, beside the bare forward pass, LitServe and a bare FastAPI app, all in one run on two cores in fp32.

    make bench NAME=online.speed
    make bench NAME=online.speed ARGS='--skus 1000 --large 20000 --seconds 2'     a smaller one; its figures are printed, not kept

`tiny` and `base` with MiniLM as their text tower, 104 weeks, horizon 26, random weights. The client is a process of its own on the same
two cores. Products are kept ready as after their first request, but where a figure says otherwise.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.measure import apart
from benchmarks.online import bare, load, served
from benchmarks.online.bare import Bare
from benchmarks.online.load import Load, Outcome
from benchmarks.online.served import Host
from benchmarks.online.shop import enlarge, make_model, make_shop, skus_of, stream_of
from benchmarks.results import Figure, write_results
from plcp.data.prepared import Prepared
from plcp.forecast.catalog import CatalogConfig, score
from plcp.serving.arrow import MEDIA_TYPE

SKUS, LARGE, SECONDS = 10_000, 1_000_000, 8.0
ASKED = 2000  # SKUs that single requests ask for, by turns
READY = 8  # times that each is asked for before, so that each replica has it ready
PEERS = (  # their kind, how they run, and threads; the better of a kind counts
    ("fastapi", "fastapi", 1),
    ("fastapi", "fastapi", 2),
    ("fastapi", "processes", 2),
    ("litserve", "litserve", 2),
    ("litserve", "workers", 2),
)
BULK, BULKS = 1000, 4  # SKUs of a bulk request, and connections that send them
MANY, READERS = 32, 16  # connections
OVER_BARE_MS, RATE, P99_MS, OF_LITSERVE, OF_FASTAPI, OF_BARE, SKU_P99_MS, GROWTH = 2, 1200, 60, 2, 0.4, 0.85, 10, 1.1


@dataclass(frozen=True)
class Scene:
    """What is served, and how long each load lasts."""

    root: Path
    shop: Prepared
    seconds: float

    def model(self, preset: str) -> Path:
        return self.root / preset

    @property
    def scores(self) -> Path:
        return self.root / "scores"


def single(skus: Sequence[str], token: str = "") -> list[bytes]:
    return [load.post("/v1/score", json.dumps({"sku_ids": [sku]}).encode(), token) for sku in skus]


def bulk(skus: Sequence[str], token: str) -> list[bytes]:
    """Requests by Arrow for BULK SKUs each, all of them asked for."""
    return [load.post("/v1/score", stream_of(skus[first : first + BULK]), token, MEDIA_TYPE) for first in range(0, len(skus), BULK)]


def sound(outcome: Outcome) -> Outcome:
    if outcome.failures or not len(outcome.latencies):
        raise RuntimeError(f"{outcome.failures} requests failed, {len(outcome.latencies)} were answered")
    return outcome


def of_preset(scene: Scene, preset: str, bares: tuple[Bare, Bare], host: Host) -> list[Figure]:
    """One product at a time, and products by the thousand."""
    skus, port, token = skus_of(scene.shop, ASKED), host.port, host.token
    eager, of_bare = bares[0], bares[0].best(bares[1])
    cold = sound(load.measure(Load(port, single(skus[:200], token), 1, scene.seconds, warm_up=0, once=True)))
    alone = Load(port, single(skus, token), 1, scene.seconds)
    make_ready(alone, READY)
    one = sound(load.measure(alone))
    many = sound(load.measure(Load(port, bulk(skus, token), BULKS, scene.seconds)))
    most, rate = of_bare.single_ms + OVER_BARE_MS, many.rate * len(skus) / len(bulk(skus, token))
    return [
        Figure(f"{preset}, one product: bare forward pass, median", round(of_bare.single_ms, 2), "ms"),
        Figure(f"{preset}, one product: bare forward pass, not recorded, median", round(eager.single_ms, 2), "ms"),
        Figure(f"{preset}: bare forward pass, not recorded", round(eager.products_s), "SKUs/s"),
        Figure(
            f"{preset}, one product: answer, median", round(one.percentile(50), 2), "ms", round(of_bare.single_ms, 2),
            round(one.percentile(50) / of_bare.single_ms, 3), f"≤ bare + {OVER_BARE_MS} ms", one.percentile(50) <= most,
        ),
        Figure(f"{preset}, one product: answer, 99%", round(one.percentile(99), 2), "ms"),
        Figure(f"{preset}, one product never asked for before: answer, median", round(cold.percentile(50), 2), "ms"),
        Figure(
            f"{preset}, {BULK:,} products by Arrow", round(rate), "SKUs/s", round(of_bare.products_s), round(rate / of_bare.products_s, 3),
            f"≥ {OF_BARE} × bare forward pass", rate >= OF_BARE * of_bare.products_s,
        ),
    ]  # fmt: skip


def crowd(scene: Scene, port: int, token: str = "", ready: int = 1) -> Outcome:
    """Many clients at once that each ask for one product, all of which have been asked for before."""
    asked = Load(port, single(skus_of(scene.shop, ASKED), token), MANY, scene.seconds)
    make_ready(asked, ready)
    return sound(load.measure(asked))


def make_ready(asked: Load, times: int) -> None:
    """Every product asked for so often that each replica has it ready."""
    for _ in range(times):
        sound(load.measure(replace(asked, connections=MANY, warm_up=0, once=True)))


def beside_peers(ours: Outcome, fastapi: Outcome, litserve: Outcome) -> list[Figure]:
    name, least = f"tiny, {MANY} connections: ", f"≥ {RATE}"
    return [
        Figure(f"{name}answers", round(ours.rate), "1/s", target=least, met=ours.rate >= RATE),
        Figure(f"{name}answer, 99%", round(ours.percentile(99), 1), "ms", target=f"≤ {P99_MS}", met=ours.percentile(99) <= P99_MS),
        ratio(f"{name}of LitServe", ours.rate, litserve.rate, OF_LITSERVE),
        ratio(f"{name}of FastAPI + uvicorn", ours.rate, fastapi.rate, OF_FASTAPI),
        Figure(f"{name}LitServe, 99%", round(litserve.percentile(99), 1), "ms"),
        Figure(f"{name}FastAPI + uvicorn, 99%", round(fastapi.percentile(99), 1), "ms"),
    ]


def ratio(name: str, ours: float, other: float, least: float) -> Figure:
    return Figure(name, round(ours), "1/s", round(other), round(ours / other, 3), f"≥ {least} ×", ours >= least * other)


def reading(scene: Scene, skus: Sequence[str], host: Host) -> tuple[Outcome, int]:
    """GET /sku/{id} all over a catalog, of a service that answered nothing yet, and its replicas' own memory after half of the products."""
    asked = [load.get(f"/v1/sku/{sku}", host.token) for sku in skus]
    others = Load(host.port, asked[1::2], READERS, scene.seconds)
    sound(load.measure(replace(others, requests=asked[::2], warm_up=0, once=True)))  # as many whatever the size and the speed
    memory = served.own_memory()
    return sound(load.measure(others)), memory


def of_size(small: tuple[Outcome, int], large: tuple[Outcome, int], skus: int, times: int) -> list[Figure]:
    (few, little), (many, much) = small, large
    p99 = many.percentile(99)
    return [
        Figure(f"GET /sku over {skus:,} SKUs, 99%", round(few.percentile(99), 2), "ms"),
        Figure(
            f"GET /sku over {times * skus:,} SKUs, 99%", round(p99, 2), "ms", round(few.percentile(99), 2),
            round(p99 / few.percentile(99), 3), f"< {SKU_P99_MS}", p99 < SKU_P99_MS,
        ),
        Figure(f"GET /sku over {times * skus:,} SKUs, {READERS} connections", round(many.rate), "1/s"),
        Figure(
            f"replicas' own memory at {times * skus:,} SKUs", much >> 20, "MiB", little >> 20, round(much / little, 3),
            f"≤ {GROWTH} × as at {skus:,}", much <= GROWTH * little,
        ),
    ]  # fmt: skip


def measured(scene: Scene, times: int) -> list[Figure]:
    prepared = scene.shop.root
    presets = {preset: make_model(scene.model(preset), scene.shop, preset) for preset in ("tiny", "base")}
    bares = {preset: apart(bare.measure, model, prepared, served.CORES, BULK).value for preset, model in presets.items()}
    skus, peers = [sku for i in range(len(scene.shop.shards)) for sku in scene.shop.read(i).sku_id], defaultdict(list)
    for name, kind, threads in PEERS:
        with served.peer(kind, threads, presets["tiny"], prepared) as port:
            peers[name].append(crowd(scene, port))
    best = {name: max(outcomes, key=lambda outcome: outcome.rate) for name, outcomes in peers.items()}
    with served.host(scene.root) as host:
        score(presets["tiny"], prepared, scene.scores, CatalogConfig())
        with host.service(presets["tiny"], prepared, scene.scores):
            found = of_preset(scene, "tiny", bares["tiny"], host)
            found += beside_peers(crowd(scene, host.port, host.token, READY), best["fastapi"], best["litserve"])
        with host.service(presets["tiny"], prepared, scene.scores):
            small = reading(scene, skus, host)
        with host.service(presets["base"], prepared):
            found += of_preset(scene, "base", bares["base"], host)
        enlarge(scene.shop, scene.scores, times)
        everywhere = [f"{sku}-{1 + i % (times - 1)}" if times > 1 else sku for i, sku in enumerate(skus)]
        with host.service(presets["tiny"], prepared, scene.scores):
            large = reading(scene, everywhere, host)
    return found + of_size(small, large, len(skus), times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--skus", type=int, default=SKUS, help="products of the shop")
    parser.add_argument("--large", type=int, default=LARGE, help="products of the large one")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that each load lasts")
    options = parser.parse_args()
    before = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), make_shop(Path(folder) / "shop", options.skus), options.seconds)
        figures = measured(scene, options.large // options.skus)
    figures.append(Figure("load of the machine before it", round(before, 2), "processes"))
    write_results("online_speed", figures, whole=(options.skus, options.large, options.seconds) == (SKUS, LARGE, SECONDS))


if __name__ == "__main__":
    main()
