"""Ten minutes at 80% of what the online service can do: no error, and no memory that grows.

    python -m benchmarks.online.soak [--seconds 600]     figures of another length are printed, not kept

Requests are mixed as in a shop: most ask for one product, some for the last run's forecast or a price path, some for many products by
Arrow, and some tell of a sale.
"""

import argparse
import json
import tempfile
import threading
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.online import load, served
from benchmarks.online.load import Load, Outcome
from benchmarks.online.shop import make_model, make_shop, skus_of, stream_of
from benchmarks.results import Figure, write_results
from plcp.data.prepared import Prepared
from plcp.forecast.catalog import CatalogConfig, score
from plcp.serving.arrow import MEDIA_TYPE

SECONDS, SKUS, SHARE, GROWTH = 600.0, 2000, 0.8, 0.03
CONNECTIONS, CAPACITY_S, SETTLE_S, SAMPLE_S = 32, 10.0, 20.0, 1.0
BULK = 50  # products by Arrow
FASTER = 1.05  # that one round of requests is than the one before, while products are made ready
ENDS = 0.1  # share of the samples that counts as the beginning, and as the end
FIGURES = "online_soak"


@dataclass(frozen=True)
class Soaked:
    capacity: float  # answers a second
    outcome: Outcome
    memory: np.ndarray  # bytes that the replica held itself, every second

    @property
    def growth(self) -> float:
        """From the beginning to the end, as a share."""
        count = max(1, int(ENDS * len(self.memory)))
        return float(np.median(self.memory[-count:]) / np.median(self.memory[:count])) - 1


def requests(shop: Prepared, token: str) -> list[bytes]:
    """Of twenty, thirteen score a product, three look one up, two try a price, one asks for BULK by Arrow, one tells of a new sale."""
    found, skus = [], skus_of(shop, SKUS)
    for number, sku in enumerate(skus):
        day = shop.origin + timedelta(days=number % 7)
        sale = {"event_id": f"sale-{load.FRESH.decode()}", "sku_id": skus[number - 10], "date": str(day), "units": 1}
        kinds = [load.post("/v1/score", json.dumps({"sku_ids": [sku]}).encode(), token)] * 13
        kinds += [load.get(f"/v1/sku/{sku}", token)] * 3
        path = [{"week": str(shop.origin), "price": 1.0 + number % 9}]
        kinds += [load.post("/v1/scenario", json.dumps({"sku_id": sku, "path": path}).encode(), token)] * 2
        kinds.append(load.post("/v1/score", stream_of(skus[number : number + BULK]), token, MEDIA_TYPE))
        kinds.append(load.post("/v1/observe", json.dumps({"observations": [sale]}).encode(), token))
        found.append(kinds[number % len(kinds)])
    return found


def soak(seconds: float) -> Soaked:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        shop = make_shop(root / "shop", SKUS)
        model = make_model(root / "tiny", shop, "tiny")
        with served.host(root) as host:
            score(model, shop.root, root / "scores", CatalogConfig())
            with host.service(model, shop.root, root / "scores"):
                return loaded(Load(host.port, requests(shop, host.token), CONNECTIONS, SETTLE_S), seconds)


def loaded(mixed: Load, seconds: float) -> Soaked:
    settled(mixed)
    capacity = load.measure(replace(mixed, seconds=CAPACITY_S)).rate
    samples: list[int] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_S):
            samples.append(served.own_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    outcome = load.measure(replace(mixed, seconds=seconds, rate=SHARE * capacity))
    over.set()
    watching.join()
    return Soaked(capacity, outcome, np.array(samples))


def settled(mixed: Load) -> None:
    """Return when it gets no faster: every product was asked for at every replica, and sales of some were told."""
    before, rate = 0.0, load.measure(mixed).rate
    while rate > FASTER * before:
        before, rate = rate, load.measure(mixed).rate


def figures(soaked: Soaked, seconds: float) -> list[Figure]:
    outcome, share = soaked.outcome, soaked.outcome.rate / soaked.capacity
    return [
        Figure("answers a second, at most", round(soaked.capacity), "1/s"),
        Figure(f"answers a second over {seconds:g} s", round(outcome.rate), "1/s", round(soaked.capacity), round(share, 3)),
        Figure("answer, 99%, from when the request was due", round(outcome.percentile(99), 1), "ms"),
        Figure("requests that failed", outcome.failures, "requests", target="none", met=outcome.failures == 0),
        Figure("replica's own memory", round(soaked.memory[-1] / 2**20), "MiB"),
        Figure("its growth", round(100 * soaked.growth, 2), "%", target=f"±{GROWTH:.0%}", met=abs(soaked.growth) <= GROWTH),
    ]  # fmt: skip


def run(seconds: float) -> list[Figure]:
    found = figures(soak(seconds), seconds)
    write_results(FIGURES, found, whole=seconds == SECONDS)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that the load lasts")
    run(parser.parse_args().seconds)


if __name__ == "__main__":
    main()
