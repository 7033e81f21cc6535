import subprocess
import sys

import pytest

MINIATURE = """
import sys
from benchmarks.gpu import model
sys.argv[1:] = ["--miniature"]
model.main()
assert "ray" not in sys.modules
"""


@pytest.mark.system
def test_the_benchmark_for_a_gpu_runs_in_miniature_without_one_and_without_ray() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", MINIATURE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    figures = [line.split("  ")[0].rstrip() for line in done.stdout.splitlines() if not line.startswith("[")]
    for stage in (1, 3):
        assert f"training, tiny, ZeRO-{stage}, 4 cases a step: share of the matrix product" in figures
    assert "one million products × 26 weeks, cached towers" in figures
    assert "scoring, tiny, all towers" in figures
