"""Ten minutes of load; PLCP_SOAK_SECONDS sets another length. Figures go to benchmarks/results/online_soak.json."""

import os

import pytest

from benchmarks.online import soak


@pytest.mark.soak
def test_at_four_fifths_of_capacity_nothing_fails_and_memory_stays() -> None:
    found = soak.run(float(os.environ.get("PLCP_SOAK_SECONDS", soak.SECONDS)))
    assert [figure.name for figure in found if figure.met is False] == []
