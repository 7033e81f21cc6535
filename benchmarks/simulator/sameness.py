"""The same seed gives the same bytes: in other processes, in other numbers of them, and on a processor that can do less.

    python -m benchmarks.simulator.sameness

The lesser processor is this one with NumPy's and the C library's use of AVX512, AVX2 and FMA switched off.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.results import Figure, write_results

SKUS, WEEKS = 2200, 60
SEEDS = (1, 2)
LESSER = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4",
}
RUN = """
import sys, warnings
from pathlib import Path
warnings.simplefilter("ignore")
from plcp.data.simulator import SimulatorConfig, simulate
if __name__ == "__main__":
    skus, weeks, seed, workers = map(int, sys.argv[2:])
    simulate(SimulatorConfig(skus=skus, weeks=weeks, seed=seed, images=2, workers=workers), Path(sys.argv[1]))
"""


def simulate_apart(folder: Path, seed: int, workers: int, environment: dict[str, str]) -> str:
    """Simulate in a process of its own; a digest over the names and bytes of all files."""
    script = folder.with_suffix(".py")
    script.write_text(RUN)
    arguments = [sys.executable, script, folder, SKUS, WEEKS, seed, workers]
    subprocess.run([str(a) for a in arguments], check=True, env=os.environ | environment)
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.*")):
        digest.update(str(path.relative_to(folder)).encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def main() -> None:
    figures = []
    digests = []
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for seed in SEEDS:
            reference = simulate_apart(root / f"{seed}-a", seed, 1, {"PYTHONHASHSEED": "1"})
            digests.append(reference)
            others = {
                "another process": simulate_apart(root / f"{seed}-b", seed, 1, {"PYTHONHASHSEED": "2"}),
                "three workers": simulate_apart(root / f"{seed}-c", seed, 3, {}),
                "a lesser processor": simulate_apart(root / f"{seed}-d", seed, 1, LESSER),
            }
            for name, digest in others.items():
                same = digest == reference
                figures.append(Figure(f"seed {seed}: same bytes, {name}", same, "1 is yes", target="1", met=same))
    differ = digests[0] != digests[1]
    figures.append(Figure("other bytes with another seed", differ, "1 is yes", target="1", met=differ))
    write_results("simulator_sameness", figures)


if __name__ == "__main__":
    main()
