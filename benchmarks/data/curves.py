"""SKUs a second that `plcp curves` fits on one core.

make bench NAME=data.curves
"""

import os
import tempfile
from pathlib import Path

import psutil

from benchmarks.data.prepare import plcp_prepare
from benchmarks.data.shop import make_shop, sized
from benchmarks.measure import apart
from benchmarks.results import Figure, write_results
from plcp.data.curves import fit_curves
from plcp.data.prepared import Prepared

SKUS, FASTEST = 20_000, 1000
CORE = 0
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}  # several would wait for one another on one core


def curves_on_one_core(prepared: Path, out: Path) -> dict[str, int]:
    """What the command does, with all threads of the process on one core."""
    for thread in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(thread.name), {CORE})
    return fit_curves(Prepared.open(prepared), out)


def main() -> None:
    skus = sized(__doc__, SKUS).parse_args().skus
    load = psutil.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_shop(root / "shop", skus)
        plcp_prepare(root / "shop", root / "prepared")
        os.environ |= ONE_THREAD  # for the process to come
        cost = apart(curves_on_one_core, root / "prepared", root / "curves")
    assert sum(cost.value.values()) == skus
    rate = skus / cost.seconds
    figures = [
        Figure("SKUs × 104 weeks on one core", round(rate), "SKUs/s", target=f"≥ {FASTEST}", met=rate >= FASTEST),
        Figure("the same by processor time", round(skus / cost.processor), "SKUs/s"),
        *(Figure(f"best family: {name}", count, "SKUs") for name, count in sorted(cost.value.items())),
        Figure("most memory", round(cost.memory / 2**20), "MiB"),
        Figure("load of the machine before it", round(load, 2), "processes"),
    ]
    write_results("data_curves", figures, whole=skus == SKUS)


if __name__ == "__main__":
    main()
