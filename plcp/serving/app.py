"""The Ray Serve application: `Online`, which answers requests, and `Catalog`, which scores the catalog, of one artifact."""

import gc
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import ray
from fastapi import FastAPI
from pydantic import Field, model_validator
from ray import serve
from ray.serve import context
from ray.serve._private import constants
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import LoggingConfig

from plcp.base import Config, ConfigError, DataError, PlcpError
from plcp.client import Client
from plcp.data.prepared import Prepared
from plcp.forecast import artifact
from plcp.forecast.embeddings import vectors_beside
from plcp.forecast.forecaster import Forecaster, ForecasterConfig
from plcp.forecast.replicas import APP, ReplicaConfig, at_hand, catalog_deployment, cluster, start_serve
from plcp.serving.api import create_api
from plcp.serving.auth import fingerprint, read_token, require_token_beyond_loopback
from plcp.serving.batching import BatchConfig
from plcp.serving.fast import require_cluster_is, require_ipv4_if_fast, require_token_if_fast, switched
from plcp.serving.live import Live
from plcp.serving.observations import open_observations
from plcp.serving.remote import Remote
from plcp.serving.rpc import SERVICERS, require_token_if_grpc
from plcp.serving.store import Decided, Published, Stock

RETRY_AFTER_S = 1
ANSWER_S = 30.0
EVERYWHERE = "0.0.0.0"  # noqa: S104 - where Serve's gRPC listens


class ServingConfig(Config):
    """How the endpoint is hosted."""

    host: str = Field("127.0.0.1", description="address to listen on; any but this machine's own needs a token")
    port: int = Field(8000, ge=1, le=65535, description="port to listen on")
    token_file: Path | None = Field(None, description="file that holds the token; PLCP_TOKEN in the environment if not given")
    grpc_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="port for gRPC beside HTTP, on every address, so that it needs a token; none if not given",
    )
    fast: bool = Field(False, description="HAProxy in front and Serve's throughput-optimised mode; needs a token")
    min_replicas: int = Field(1, ge=1, description="replicas of Online that run even where nothing is asked")
    max_replicas: int = Field(1, ge=1, description="replicas of Online that run at most, as many as are needed for what is asked")
    threads: int = Field(
        1,
        ge=1,
        description="passes a replica of Online makes beside one another, each on one core: as many as `cpus`; "
        "for many small requests replicas of one thread are quicker, as threads share Python's lock",
    )
    cpus: float = Field(1, gt=0, description="CPU cores it reserves")
    gpus: float = Field(0, ge=0, description="GPUs it reserves")
    access_log: bool = Field(False, description="requests in the replica's log, which takes a quarter of the time of looking a product up")
    cached_mib: int = Field(256, ge=1, description="memory of a replica for products kept ready to be forecast, MiB")
    batch: BatchConfig = BatchConfig()
    observations: str | None = Field(
        None, description="SQLite file, or redis://host:port/number for several machines; PREPARED.observations.sqlite if not given"
    )
    metrics_port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="port of this machine for Prometheus where `plcp serve` starts Ray itself; a free one if not given",
    )
    max_queued: int = Field(256, ge=1, description="requests that may wait; further ones get 503 and Retry-After")
    forecaster: ForecasterConfig = ForecasterConfig()
    catalog: ReplicaConfig = ReplicaConfig()

    @model_validator(mode="after")
    def _some_range(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(f"min_replicas {self.min_replicas} is above max_replicas {self.max_replicas}")
        return self


class Application(ServingConfig):
    """What `serve deploy` gives the builder: what to serve, and how."""

    model: Path = Field(description="artifact, as `plcp export` writes it")
    prepared: Path = Field(description="prepared data of the catalog")
    scores: Path | None = Field(None, description="SCORES whose last run is shown")
    decisions: Path | None = Field(None, description="folder that `plcp decide` wrote to; the one SCORES lies in if not given")


class Online(Remote):
    """Answers requests; products of several requests share a pass through the model."""

    def __init__(self, config: Application, token: str | None, catalog: DeploymentHandle) -> None:
        del catalog  # bound so that it belongs to the application; runs reach it by their own handles
        require_token_beyond_loopback(listens()[0], token)
        require_token_if_fast(constants.RAY_SERVE_ENABLE_HA_PROXY, token)
        require_cluster_is(config.fast)
        # a cache of its own would take all vectors into memory
        forecaster = Forecaster.load(config.model, config.forecaster.model_copy(update={"cache": None}))
        forecaster.encoder.look_up_in(config.forecaster.cache or vectors_beside(config.prepared.resolve()))
        published = Published(config.scores) if config.scores else None
        decided = Decided(config.decisions or config.scores.parent) if config.scores else None
        stock, live = Stock(config.prepared), live_at(config)
        super().__init__(forecaster, stock, published, decided, live, config.batch, config.threads, config.cached_mib)
        self.token = token
        gc.collect()
        gc.freeze()  # the collector need not go over libraries and the model while a request waits

    def __serve_build_asgi_app__(self) -> FastAPI:
        return create_api(self, self.token)

    async def check_health(self) -> None:
        await self.check()


def live_at(config: Application) -> Live:
    """What is observed is kept beside the prepared data, which is replaced as a whole."""
    beside = config.prepared.resolve()
    store = config.observations or str(beside.with_name(f"{beside.name}.observations.sqlite"))
    return Live(open_observations(store), beside.with_name(f".{beside.name}.observed"))


def listens() -> tuple[str | None, int]:
    """Host and port that Serve's proxies of this cluster listen on."""
    client = context._get_global_client()  # no public call tells
    if client is None:
        raise RuntimeError("Serve does not run on this cluster")
    return client.http_config.host, client.http_config.port


def speaks_grpc(port: int) -> bool:
    """Whether Serve's proxies of this cluster take gRPC for `Remote` on this port."""
    client = context._get_global_client()
    options = ray.get(client._controller.get_grpc_config.remote()) if client else None
    return options is not None and options.port == port and {*SERVICERS} <= {*options.grpc_servicer_functions}


def build(config: Application) -> serve.Application:
    """What `serve deploy` imports. Raises a PlcpError for a token, a model or prepared data that is none."""
    require_inputs(config)
    return composed(config)


def require_inputs(config: Application) -> None:
    """Raises ModelError or DataError where a folder is not what it is named as."""
    artifact.verify(config.model)
    Prepared.open(config.prepared)


def composed(config: Application) -> serve.Application:
    """The application. Needs a Ray cluster at hand."""
    token = read_token(config.token_file)
    online = serve.deployment(
        name="Online",
        max_ongoing_requests=2 * config.batch.rows,
        max_queued_requests=config.max_queued,
        backpressure_config={"retry_after_s": RETRY_AFTER_S},
        logging_config=LoggingConfig(log_level="INFO" if config.access_log else "WARNING"),
        ray_actor_options={"num_cpus": config.cpus, "num_gpus": config.gpus},
        autoscaling_config={
            "min_replicas": config.min_replicas,
            "max_replicas": config.max_replicas,
            "target_ongoing_requests": config.batch.rows / 2,
        },
    )(serve.ingress()(Online))
    catalog = catalog_deployment(config.catalog, beside=config.cpus * config.min_replicas)
    return online.bind(config, fingerprint(token) if token else None, catalog.bind())


def require_hostable(config: Application) -> None:
    """What can be seen before anything starts. Raises as `serving` does."""
    token = read_token(config.token_file)
    require_token_beyond_loopback(config.host, token)
    require_token_if_fast(config.fast, token)
    require_token_if_grpc(config.grpc_port, token)
    require_ipv4_if_fast(config.fast, config.host)
    require_inputs(config)
    if config.scores and not config.scores.is_dir():
        raise DataError(f"{config.scores}: no such folder; score the catalog first (plcp score), or leave the scores out")
    if config.grpc_port == config.port:
        raise ConfigError(f"serve.port and serve.grpc_port are both {config.port}: HTTP and gRPC need one each")
    if not (ray.is_initialized() or at_hand()):  # a cluster's own Serve may listen there already
        require_free(config.host, config.port)
        if config.grpc_port:
            require_free(config.host if config.fast else EVERYWHERE, config.grpc_port)


def start_proxies(config: Application) -> None:
    """Serve, listening where it is asked to. Raises ConfigError where it does otherwise already, for others' applications."""
    options: dict[str, Any] = {"http_options": {"host": config.host, "port": config.port}}
    if config.grpc_port:
        options["grpc_options"] = {"port": config.grpc_port, "grpc_servicer_functions": SERVICERS}
    start_serve(proxy_location="HeadOnly", **options)
    if (error := elsewhere(config)) and not serve.status().applications:  # a scoring run has left it, without proxies
        serve.shutdown()
        start_serve(proxy_location="HeadOnly", **options)
        error = elsewhere(config)
    if error:
        raise error


def elsewhere(config: Application) -> ConfigError | None:
    """Why Serve's proxies are not those that were asked for; None where they are."""
    host, port = listens()
    if (host, port) != (config.host, config.port):
        return ConfigError(
            f"Serve runs on this cluster already and listens on {host}:{port}, not {config.host}:{config.port}; "
            "use that address, or stop it with `serve shutdown`"
        )
    if config.grpc_port and not speaks_grpc(config.grpc_port):
        return ConfigError(
            f"Serve runs on this cluster already, without gRPC on port {config.grpc_port}; stop it with `serve shutdown`, or leave "
            "serve.grpc_port out"
        )
    return None


def require_free(host: str, port: int) -> None:
    """Raises ConfigError where somebody listens there, another service of this kind included: Ray's proxies would share the port."""
    try:
        kind, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(f"{host}:{port}: {error.strerror}; stop what listens there, or take another address or port") from error


@contextmanager
def serving(config: Application) -> Iterator[str]:
    """The application on the Ray cluster at hand or a local one, for as long as the block lasts; gives its address.

    Raises ConfigError where others could reach it without a token, where a port is taken, or where Serve listens elsewhere already, and
    ModelError or DataError where a folder is none.
    """
    require_hostable(config)
    with switched(config.fast), cluster(_metrics_export_port=config.metrics_port):
        start_proxies(config)
        deploy(composed(config))
        try:
            address = f"http://{f'[{config.host}]' if ':' in config.host else config.host}:{config.port}"
            with Client(address) as client:
                client.wait_until_ready(ANSWER_S)  # HAProxy hears of a replica a moment later than Serve does
            yield address
        finally:
            serve.delete(APP)


def deploy(application: serve.Application) -> None:
    """Raises PlcpError with what the replicas say where they cannot start."""
    try:
        serve.run(application, name=APP, route_prefix="/")
    except RuntimeError as error:
        deployments = serve.status().applications[APP].deployments
        reasons = [f"{name}: {last_line(deployment.message)}" for name, deployment in deployments.items() if deployment.message]
        raise PlcpError("\n".join([str(error), *reasons])) from error


def last_line(message: str) -> str:
    """The error itself, without the way to it."""
    return message.strip().splitlines()[-1]
