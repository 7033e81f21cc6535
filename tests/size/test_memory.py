import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plcp.size.memory import ACTIVATIONS, BUCKET, GRADIENTS, Layout, Learner, layouts, memory

T, F, N = 300_000_000, 40_000_000, 8
NAMED = {layout.name: layout for layout in layouts("bf16")}
counts = st.integers(1_000, 5_000_000_000)


def items(layout: Layout, workers: int = N) -> dict[str, float]:
    return {item.name: item.bytes for item in memory(layout, Learner(T, F, workers), 7e9).items}


@pytest.mark.parametrize(
    ("name", "weights", "optimizer", "average"),
    [
        ("ZeRO-0", 4 * (T + F), 8 * T, 4 * T),
        ("ZeRO-1", 2 * (T + F), 12 * T / N, 4 * T),
        ("ZeRO-2", 2 * (T + F), 12 * T / N, 4 * T),
        ("ZeRO-3", 2 * (T + F) / N, 12 * T / N, 4 * T / N),
    ],
)
def test_each_stage_shares_out_what_it_says(name: str, weights: float, optimizer: float, average: float) -> None:
    found = items(NAMED[name])
    assert (found["weights"], found["optimizer"], found["average of weights"]) == (weights, optimizer, average)
    assert found[ACTIVATIONS] == 7e9


def test_a_small_model_is_whole_while_zero_3_computes_and_a_large_one_is_not() -> None:
    assert items(NAMED["ZeRO-3"])["gathered weights"] == 2 * (T + F)
    large = memory(NAMED["ZeRO-3"], Learner(70_000_000_000, 0, N), 0)
    assert next(item.bytes for item in large.items if item.name == "gathered weights") == 2e9


def test_offload_takes_adam_off_the_device_and_nothing_else() -> None:
    for stage in (1, 2, 3):
        plain, away = (memory(NAMED[f"ZeRO-{stage}{offload}"], Learner(T, F, N), 7e9) for offload in ("", ", cpu offload"))
        assert away.away == 12 * T / N
        assert plain.device - away.device == pytest.approx(away.away)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(counts, counts, st.integers(1, 512), st.floats(0, 1e12))
def test_more_workers_never_need_more_each_and_more_model_never_less(learnt: int, frozen: int, workers: int, activations: float) -> None:
    for layout in layouts("bf16"):
        few, many = (memory(layout, Learner(learnt, frozen, n), activations) for n in (workers, 2 * workers))
        assert many.device <= few.device
        assert many.away <= few.away
        assert few.least <= few.device
        assert memory(layout, Learner(2 * learnt, frozen, workers), activations).device > few.device


@given(counts, st.integers(2, 512))
def test_each_stage_needs_no_more_than_the_one_before(learnt: int, workers: int) -> None:
    needed = [memory(Layout(stage, "none", "fp32"), Learner(learnt, 0, workers), 0) for stage in (1, 2, 3)]
    static = [sum(item.bytes for item in m.items if item.name not in (GRADIENTS, "gathered weights")) for m in needed]
    assert static[0] == static[1] > static[2]


def test_the_buffer_of_gradients_counts_whole_on_a_gpu() -> None:
    assert items(NAMED["ZeRO-2"])[GRADIENTS] == 2 * BUCKET + 6 * T / N
