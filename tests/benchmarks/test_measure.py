import os

from benchmarks.measure import apart


def hold(mebibytes: int) -> int:
    """Fill memory, so that it is resident, and tell where."""
    block = bytearray(os.urandom(1 << 20) * mebibytes)
    for _ in range(30):
        bytes(block)
    return os.getpid()


def test_work_is_done_in_another_process_and_its_memory_seen() -> None:
    small, large = apart(hold, 1), apart(hold, 200)
    assert os.getpid() not in (small.value, large.value)
    assert large.memory - small.memory > 150 << 20
    assert large.seconds > 0
