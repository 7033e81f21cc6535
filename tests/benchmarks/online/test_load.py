"""The load generator counts what it should, and tells what failed."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from benchmarks.online import load
from benchmarks.online.load import Load, get, measure, post, send

ANSWER_S = 0.02


@contextmanager
def server(status: str = "200 OK") -> Iterator[int]:
    """Answers every request after ANSWER_S; gives its port."""
    started, loop = threading.Event(), asyncio.new_event_loop()
    ports = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            length = [line for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
            await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
            await asyncio.sleep(ANSWER_S)
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 5\r\n\r\nhello".encode())

    async def listen() -> None:
        listening = await asyncio.start_server(answer, "127.0.0.1", 0)
        ports.append(listening.sockets[0].getsockname()[1])
        started.set()

    loop.create_task(listen())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def test_connections_that_never_wait_send_as_fast_as_they_are_answered() -> None:
    with server() as port:
        outcome = send(Load(port, [get("/", "t"), post("/", b"hello", "t")], connections=4, seconds=1, warm_up=0.1))
    assert outcome.failures == 0
    assert outcome.percentile(50) == pytest.approx(ANSWER_S * 1e3, rel=0.5)
    assert outcome.rate == pytest.approx(4 / outcome.latencies.mean(), rel=0.05)


def test_every_request_once_is_every_request_once() -> None:
    with server() as port:
        begun = time.monotonic()
        outcome = measure(Load(port, [get("/", "t")] * 30, connections=3, seconds=0, warm_up=0, once=True))
    assert len(outcome.latencies) == 30
    assert time.monotonic() - begun < 5


def test_at_a_fixed_rate_a_request_waits_from_when_it_was_due() -> None:
    with server() as port:
        outcome = send(Load(port, [get("/", "t")], connections=1, seconds=1, warm_up=0, rate=2 / ANSWER_S))
    assert outcome.percentile(90) > 5 * ANSWER_S * 1e3, "twice as many are due as one connection can send"


def test_at_a_fixed_rate_no_connection_is_left_waiting_and_none_polls() -> None:
    with server() as port:
        begun, used = time.monotonic(), time.process_time()
        outcome = send(Load(port, [get("/", "t")], connections=64, seconds=2, warm_up=0, rate=5))
    assert len(outcome.latencies) == pytest.approx(10, abs=1)
    assert time.monotonic() - begun < 4
    assert time.process_time() - used < 0.5


def test_a_request_that_is_sent_again_has_a_fresh_number() -> None:
    with server() as port:
        seen: set[bytes] = set()
        ask = load.Connection.ask

        def noted(self: load.Connection, request: bytes) -> "asyncio.Future[int]":
            seen.add(request)
            return ask(self, request)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(load.Connection, "ask", noted)
            for _ in range(2):
                send(Load(port, [post("/", b"sale " + load.FRESH, "t")] * 5, connections=1, seconds=0, warm_up=0, once=True))
    assert len(seen) == 10
    assert {len(request) for request in seen} == {len(post("/", b"sale 0123456789012345", "t"))}


def test_another_status_is_a_failure() -> None:
    with server("503 Service Unavailable") as port:
        outcome = send(Load(port, [get("/", "t")], connections=2, seconds=0.3, warm_up=0))
    assert outcome.failures > 5
    assert len(outcome.latencies) == 0
