"""What the endpoint measures of itself, for Prometheus.

Recorded through Ray, which exports it on each node's metrics port beside Serve's own (requests, errors and latency by route, queue,
replicas): one place to scrape, every replica in it. A route of the endpoint would answer for whichever replica it reached.
"""

import datetime as dt
from threading import Lock

from ray.serve import metrics

from plcp.data.timeline import WEEK

SECONDS = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]
PRODUCTS = [float(2**power) for power in range(10)]


class Meter:
    """Counted in passes and not in requests, so that measuring costs a request next to nothing."""

    def __init__(self) -> None:
        self._products = metrics.Counter("plcp_products_forecast", description="products forecast")
        self._seconds = metrics.Histogram("plcp_pass_seconds", description="of a pass through the model", boundaries=SECONDS)
        self._rows = metrics.Histogram("plcp_pass_products", description="that share a pass through the model", boundaries=PRODUCTS)
        self._looked_up = metrics.Counter(
            "plcp_products_looked_up",
            description="products asked for that were kept ready, and that had to be read",
            tag_keys=("found",),
        )
        self._observed = metrics.Counter("plcp_observations", description="sales, prices and stock that were told and kept")
        self._age = metrics.Gauge("plcp_origin_age_weeks", description="from the first week forecast to today")
        self._told = {"kept": 0, "read": 0}  # of the cache, so far
        self._telling = Lock()

    def passed(self, products: int, seconds: float, kept: int, read: int) -> None:
        """A pass was made. `kept` and `read` are the cache's hits and misses since it began; may be called by several threads."""
        self._products.inc(products)
        self._seconds.observe(seconds)
        self._rows.observe(products)
        with self._telling:
            for found, total in (("kept", kept), ("read", read)):
                if (new := total - self._told[found]) > 0:
                    self._looked_up.inc(new, tags={"found": found})
                    self._told[found] = total

    def observed(self, events: int) -> None:
        if events:
            self._observed.inc(events)

    def forecasts_from(self, origin: dt.date) -> None:
        self._age.set((dt.date.today() - origin) / WEEK)
