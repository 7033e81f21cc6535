"""The peers: the same model, cases and JSON behind a bare FastAPI + uvicorn app, with the same batching, and behind LitServe with its own.

python -m benchmarks.online.peers fastapi|processes|litserve|workers MODEL PREPARED PORT THREADS
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import litserve
import torch
import uvicorn
from fastapi import FastAPI, Response

from plcp.data.prepared import Prepared
from plcp.forecast.forecaster import Forecaster
from plcp.serving import scorer
from plcp.serving.batching import BatchConfig, Batcher
from plcp.serving.cases import Case, Packer
from plcp.serving.schemas import ScoreRequest

SOURCE = "PLCP_BENCH_PEER"  # tells processes of their own what to serve


class Model:
    """Every product of the catalog as a case, ready from the start."""

    def __init__(self, model: Path, prepared: Path, threads: int) -> None:
        torch.set_num_threads(threads)
        self.packer = Packer(Forecaster.load(model))
        catalog = Prepared.open(prepared)
        shards = [self.packer.cases(catalog.read(index)) for index in range(len(catalog.shards))]
        self.cases = {case.sku_id: case for cases in shards for case in cases if not case.reason}

    def forecasts(self, requests: Sequence[Sequence[Case]]) -> list[bytes]:
        """A body for each request, from one pass."""
        cases = [case for request in requests for case in request]
        lines = iter(scorer.forecast_lines(cases, self.packer.values(cases)))
        return [scorer.body(self.packer.forecaster.digest, "", [next(lines) for _ in request], []) for request in requests]


def fastapi(model: Path, prepared: Path, port: int, threads: int) -> None:
    uvicorn.run(app_of(model, prepared, threads), host="127.0.0.1", port=port, access_log=False, log_level="warning")


def processes(model: Path, prepared: Path, port: int, threads: int) -> None:
    """As many processes of one thread each."""
    os.environ[SOURCE] = json.dumps([str(model), str(prepared)])
    serve = partial(uvicorn.run, host="127.0.0.1", port=port, access_log=False, log_level="warning")
    serve("benchmarks.online.peers:app_of_environment", factory=True, workers=threads)


def app_of_environment() -> FastAPI:
    model, prepared = json.loads(os.environ[SOURCE])
    return app_of(Path(model), Path(prepared), 1)


def app_of(model: Path, prepared: Path, threads: int) -> FastAPI:
    loaded, app = Model(model, prepared, threads), FastAPI()
    load, begin = partial(loaded.packer.load, BatchConfig()), partial(torch.set_num_threads, 1)
    batcher: Batcher[Case, bytes] = Batcher(loaded.forecasts, load, begin, threads)

    @app.post("/v1/score")
    async def score(request: ScoreRequest) -> Response:
        return Response(await batcher([loaded.cases[sku] for sku in request.sku_ids]), media_type="application/json")

    return app


class Score(litserve.LitAPI):
    """A process of LitServe's own unpickles it, and then loads what it serves."""

    source: tuple[Path, Path, int]

    def setup(self, device: str) -> None:
        self.loaded = Model(*self.source)

    def decode_request(self, request: ScoreRequest, **_: Any) -> list[str]:
        return request.sku_ids

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        return inputs

    def predict(self, requests: list[list[str]], **_: Any) -> list[bytes]:
        return self.loaded.forecasts([[self.loaded.cases[sku] for sku in request] for request in requests])

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes, **_: Any) -> Response:
        return Response(output, media_type="application/json")


def lit(model: Path, prepared: Path, port: int, threads: int, workers: int = 1) -> None:
    """Its workers share the threads."""
    # a timeout of zero would make batches of one; a millisecond is the least that lets requests share a pass
    api = Score(max_batch_size=BatchConfig().rows, batch_timeout=0.001, api_path="/v1/score")
    api.source = model, prepared, threads // workers
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=workers)
    server.run(host="127.0.0.1", port=port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    kind, model, prepared, port, threads = sys.argv[1:]
    with_workers = partial(lit, workers=int(threads))
    kinds: dict[str, Callable[[Path, Path, int, int], None]] = {
        "fastapi": fastapi,
        "processes": processes,
        "litserve": lit,
        "workers": with_workers,
    }
    kinds[kind](Path(model), Path(prepared), int(port), int(threads))
