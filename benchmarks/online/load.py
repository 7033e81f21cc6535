"""The load generator: HTTP/1.1 over kept connections, from a process of its own.

A request is bytes made beforehand, and of an answer the status and the length are read: a general client spends more of a core on a
request than the service does, and on the same two cores would measure itself. Latencies at a fixed rate count from the moment a request was
due, not from when a busy connection got round to sending it (coordinated omission).
"""

import asyncio
import pickle
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import uvloop

HEAD_END = b"\r\n\r\n"
FRESH = b"{a fresh number}"  # in a request: each time it is sent with another one, of as many digits


@dataclass(frozen=True)
class Load:
    """What to send where. Without a rate every connection sends its next request as soon as it has its answer."""

    port: int
    requests: Sequence[bytes]  # whole HTTP requests, sent in turn
    connections: int
    seconds: float
    warm_up: float = 2  # seconds before, not counted
    rate: float | None = None  # requests a second over all connections
    once: bool = False  # every request a single time, for as long as that takes


@dataclass(frozen=True)
class Outcome:
    latencies: np.ndarray  # seconds, one per answered request
    failures: int  # answers with another status than 200, and connections lost
    rate: float  # answers a second: over all connections, from the first request counted of each to its last answer

    def percentile(self, share: float) -> float:
        """Milliseconds."""
        return float(np.percentile(self.latencies, share) * 1e3)


def post(path: str, body: bytes, token: str, kind: str = "application/json") -> bytes:
    """A POST as it goes over the wire."""
    return _request("POST", path, token, f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n") + body


def get(path: str, token: str) -> bytes:
    """A GET as it goes over the wire."""
    return _request("GET", path, token, "")


def _request(method: str, path: str, token: str, more: str) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n{more}\r\n".encode()


def measure(load: Load) -> Outcome:
    """Send the load from a process of its own, which holds nothing but this."""
    command = [sys.executable, "-m", "benchmarks.online.load"]
    answer = subprocess.run(command, input=pickle.dumps(load), stdout=subprocess.PIPE, check=True).stdout
    outcome: Outcome = pickle.loads(answer)  # noqa: S301 - of a process that is our own
    return outcome


def send(load: Load) -> Outcome:
    return uvloop.run(Sender(load).run())


class Connection(asyncio.Protocol):
    """One request at a time; the answer's status is told to whoever sent it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[int] | None = None
        self._seen, self._missing, self._status = b"", -1, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def ask(self, request: bytes) -> "asyncio.Future[int]":
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._seen, self._missing = b"", -1
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._missing < 0:
            self._seen += data
            end = self._seen.find(HEAD_END)
            if end < 0:
                return
            self._status = int(self._seen[9:12])
            head = self._seen[:end].lower()
            at = head.index(b"content-length:") + 15
            self._missing = int(head[at : at + 20].split(b"\r")[0]) - (len(self._seen) - end - len(HEAD_END))
        else:
            self._missing -= len(data)
        if self._missing == 0 and self._answer and not self._answer.done():
            self._answer.set_result(self._status)

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer and not self._answer.done():
            self._answer.set_result(0)


class Sender:
    """One run of a load."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.latencies: list[float] = []
        self.failures, self.rate, self._sent = 0, 0.0, 0
        self._begin, self._end, self._first = 0.0, 0.0, time.time_ns() // 1000  # no other load's, unless it sent a million a second
        self._due: asyncio.Queue[float | None] = asyncio.Queue()  # None: no more

    async def run(self) -> Outcome:
        self._begin = time.perf_counter() + self.load.warm_up
        self._end = np.inf if self.load.once else self._begin + self.load.seconds
        paced = asyncio.create_task(self._pace(self.load.rate)) if self.load.rate else None
        await asyncio.gather(*(self._connection() for _ in range(self.load.connections)))
        if paced:
            await paced
        return Outcome(np.array(self.latencies), self.failures, self.rate)

    async def _pace(self, rate: float) -> None:
        due = time.perf_counter()
        while due < self._end:
            self._due.put_nowait(due)
            due += 1 / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        for _ in range(self.load.connections):
            self._due.put_nowait(None)

    async def _connection(self) -> None:
        connection, first, last, answered = await self._connect(), 0.0, 0.0, 0
        while (due := await self._next()) is not None:
            request = self.load.requests[self._sent % len(self.load.requests)].replace(FRESH, b"%016d" % (self._first + self._sent))
            self._sent += 1
            status = await connection.ask(request)
            last = time.perf_counter()
            if self._begin <= due:
                first, answered = first or due, answered + (status == 200)
                self.failures += status != 200
                self.latencies += [last - due] * (status == 200)
            if status == 0:
                connection = await self._connect()
        if answered:
            self.rate += answered / (last - first)

    async def _connect(self) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", self.load.port)
        return connection

    async def _next(self) -> float | None:
        """When the next request is due: now, or by the rate; None where none comes any more."""
        if self.load.rate is None:
            now, all_sent = time.perf_counter(), self.load.once and self._sent >= len(self.load.requests)
            return None if now > self._end or all_sent else now
        return await self._due.get()


if __name__ == "__main__":
    from benchmarks.online.load import send as sent  # by its name beyond this process

    sys.stdout.buffer.write(pickle.dumps(sent(pickle.load(sys.stdin.buffer))))  # noqa: S301
