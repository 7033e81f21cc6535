"""Requests share passes, within the limits of one, and not each other's errors."""

import asyncio
import threading
from collections.abc import Sequence

import numpy as np

from plcp.serving.batching import Batcher

LIMIT = 4  # cases in a pass


class Passes:
    """Notes what each pass was asked for; the first waits until it is let go."""

    def __init__(self, limit: int = LIMIT) -> None:
        self.seen: list[list[int]] = []  # how many cases of each request
        self.asked: list[list[int]] = []
        self.begun, self.go = threading.Event(), threading.Event()
        self.batcher: Batcher[int, int] = Batcher(self.run, lambda cases: np.array([len(cases) / limit, 0, 0]))

    def run(self, requests: list[Sequence[int]]) -> list[int]:
        self.seen.append([len(cases) for cases in requests])
        self.asked.append([number for cases in requests for number in cases])
        self.begun.set()
        self.go.wait(10)
        if any(min(cases) < 0 for cases in requests):
            raise ValueError("a case that breaks the pass")
        return [sum(cases) for cases in requests]

    async def ask(self, *requests: Sequence[int]) -> list[int | BaseException]:
        """A first request that holds up the others, and then these."""
        first = asyncio.ensure_future(self.batcher([0]))
        await asyncio.to_thread(self.begun.wait, 10)
        others = [asyncio.ensure_future(self.batcher(cases)) for cases in requests]
        while self.batcher.waiting < len(requests):
            await asyncio.sleep(0)
        self.go.set()
        await first
        return await asyncio.gather(*others, return_exceptions=True)


def test_what_comes_while_a_pass_runs_shares_the_next_as_far_as_it_fits() -> None:
    passes = Passes()
    assert asyncio.run(passes.ask([1], [2, 2], [3, 3], [1] * 9)) == [1, 4, 6, 9]
    assert passes.seen == [[1], [1, 2], [2], [9]]


def test_as_many_as_the_limit_says_fit_whatever_their_shares_round_to() -> None:
    passes = Passes(limit=9)
    asyncio.run(passes.ask(*[[1]] * 9))
    assert passes.seen == [[1], [1] * 9]


def test_a_client_that_has_gone_takes_up_no_pass_not_even_as_the_first_of_it() -> None:
    passes = Passes()

    async def leave() -> int:
        first = asyncio.ensure_future(passes.batcher([0]))
        await asyncio.to_thread(passes.begun.wait, 10)
        gone, stays = (asyncio.ensure_future(passes.batcher([number])) for number in (5, 6))
        while passes.batcher.waiting < 2:
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait([gone])
        passes.go.set()
        await first
        return await stays

    assert asyncio.run(leave()) == 6
    assert passes.asked == [[0], [6]]


def test_a_request_that_breaks_a_pass_breaks_no_other() -> None:
    passes = Passes()
    one, broken, other = asyncio.run(passes.ask([1], [-1], [2]))
    assert (one, other) == (1, 2)
    assert isinstance(broken, ValueError)
    assert passes.seen == [[1], [1, 1, 1], [1], [1], [1]]
