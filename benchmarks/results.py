"""Writes a benchmark's figures as benchmarks/results/<name>.json."""

import json
import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).resolve().parent / "results"


def real_data(name: str) -> Path:
    """A file of the folder of real data sets. Ends the program with a sentence where it is not said which folder that is."""
    folder = os.environ.get("PLCP_BENCH_DATA")
    if not folder:
        raise SystemExit(f"PLCP_BENCH_DATA is not set: give the folder that holds {name}, as in `PLCP_BENCH_DATA=DATA make bench NAME=…`")
    return Path(folder) / name


@dataclass(frozen=True)
class Figure:
    """One measured value; `met` says whether it keeps to its target."""

    name: str
    value: float
    unit: str
    reference: float | None = None
    ratio: float | None = None
    target: str | None = None
    met: bool | None = None


def hardware() -> str:
    """Processor, cores and memory of this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def write_results(name: str, figures: list[Figure], whole: bool = True, device: str = "") -> None:
    """Print the figures of one benchmark, and write them down if it ran `whole`: at the size that its targets speak of.

    `device`: what it ran on beside the processor.
    """
    show(figures)
    if not whole:
        return
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=RESULTS.parent, capture_output=True, text=True, check=False)
    document = {
        "date": datetime.now(UTC).date().isoformat(),
        "hardware": f"{device}, {hardware()}" if device else hardware(),
        "commit": git.stdout.strip() or None,
        "figures": [asdict(f) for f in figures],
    }
    RESULTS.mkdir(exist_ok=True)
    # numpy's numbers and truth values go in as Python's
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False, default=lambda x: x.item()) + "\n")


def show(figures: list[Figure]) -> None:
    """Print figures, a line each."""
    for f in figures:
        note = "" if f.met is None else ("  met" if f.met else "  NOT MET")
        reference = "" if f.reference is None else f"  (reference {f.reference:.4g})"
        print(f"{f.name:55s} {f.value:12.5g} {f.unit}{reference}{note}")
