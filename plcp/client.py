"""The typed client of the endpoint. It needs no model: only httpx and the tables."""

import base64
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import polars as pl

from plcp.base import PlcpError
from plcp.tables import CURVE, EMBEDDING, EVENT_TABLE, FORECAST, SKIPPED, STAGE_TABLE, Table

MAX_SKUS = 10_000  # of one request
MAX_PRODUCTS = 100
ARROW = "application/vnd.apache.arrow.stream"
TRY_AGAIN = frozenset({429, 502, 503, 504})
LONGEST_WAIT_S = 30.0
KEY = ("sku_id", "origin")


class ClientError(PlcpError):
    """The endpoint refused a request. `status` is its HTTP status, `problem` the details it gave (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any]):
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail', '')}".strip(": "))
        self.status, self.problem = status, problem


@dataclass(frozen=True)
class Forecasts:
    """Forecast tables of the products asked for, as plcp.tables has them."""

    model: str  # digest
    origin: date
    curve: pl.DataFrame
    events: pl.DataFrame
    stage: pl.DataFrame
    skipped: pl.DataFrame


@dataclass(frozen=True)
class Observed:
    """What became of observations: kept, told before, or held by the weekly run already."""

    accepted: int
    duplicates: int
    contained: int
    origin: date


class Client:
    """A connection to one endpoint; also a context manager. Requests that find it busy or away are sent again."""

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None, timeout_s: float = 60, tries: int = 5):
        headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s)
        self.tries = tries

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def score(self, sku_ids: Sequence[str]) -> Forecasts:
        """Forecast SKUs of the catalog, any number of them. Raises ClientError (404) naming unknown ones."""
        return self._score([{"sku_ids": list(sku_ids[i : i + MAX_SKUS])} for i in range(0, len(sku_ids), MAX_SKUS)])

    def score_products(self, products: Sequence[Mapping[str, Any]]) -> Forecasts:
        """Forecast whole products: fields of the table products, and `history`, rows of the table sales.

        `image` is a photo's bytes, its path, or a list of those; dates may be dates. Raises ClientError (422) naming a wrong field.
        """
        rows = [_plain(product) for product in products]
        return self._score([{"products": rows[i : i + MAX_PRODUCTS]} for i in range(0, len(rows), MAX_PRODUCTS)])

    def table(self, sku_ids: Sequence[str], table: str = "curve") -> pl.DataFrame:
        """One forecast table (curve, events, stage, embedding, skipped) of SKUs of the catalog, any number of them, by Arrow.

        In bulk that is far faster than `score`. A product that cannot be forecast has no rows but in `skipped`. Raises ClientError (404)
        naming unknown SKUs, and PlcpError for a table that is none.
        """
        if table not in FORECAST:
            raise PlcpError(f"table {table!r} is none of {', '.join(FORECAST)}")
        parts = [self._bulk(sku_ids[i : i + MAX_SKUS], table) for i in range(0, len(sku_ids), MAX_SKUS)]
        return pl.concat([pl.DataFrame(schema=FORECAST[table].schema), *parts])

    def _bulk(self, sku_ids: Sequence[str], table: str) -> pl.DataFrame:
        stream = io.BytesIO()
        asked = pl.DataFrame({"sku_id": sku_ids}, schema={"sku_id": pl.String})
        asked.write_ipc_stream(stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
        options = {"content": stream.getvalue(), "params": {"table": table}, "headers": {"Content-Type": ARROW}}
        return FORECAST[table].conform(pl.read_ipc_stream(self._send("POST", "/v1/score", **options).content))

    def scenario(
        self,
        path: Sequence[Mapping[str, Any]],
        sku_id: str | None = None,
        product: Mapping[str, Any] | None = None,
        unit_cost: float | None = None,
    ) -> dict[str, Any]:
        """Curve, demand, revenue and margin of a price and promotion path (rows of the table plans) beside the plan.

        Of a SKU of the catalog, or of a whole product as `score_products` takes it. Raises ClientError (404, 422).
        """
        weeks = [{name: _value(value) for name, value in week.items()} for week in path]
        named = {"sku_id": sku_id, "product": _plain(product) if product else None, "unit_cost": unit_cost}
        return self._ask("POST", "/v1/scenario", json={"path": weeks} | {name: value for name, value in named.items() if value is not None})

    def embed(self, sku_ids: Sequence[str] = (), products: Sequence[Mapping[str, Any]] = ()) -> pl.DataFrame:
        """The vectors (table embedding) of SKUs of the catalog, and of whole products as `score_products` takes them."""
        rows = [_plain(product) for product in products]
        requests: list[dict[str, Any]] = [{"sku_ids": list(sku_ids[i : i + MAX_SKUS])} for i in range(0, len(sku_ids), MAX_SKUS)]
        requests += [{"products": rows[i : i + MAX_PRODUCTS]} for i in range(0, len(rows), MAX_PRODUCTS)]
        answers = [self._ask("POST", "/v1/embed", json=request) for request in requests]
        return EMBEDDING.conform(pl.DataFrame([row for answer in answers for row in answer["embeddings"]], schema=EMBEDDING.schema))

    def observe(self, observations: Sequence[Mapping[str, Any]] = (), complete_until: date | None = None) -> Observed:
        """Tell sales, prices and stock as they happen: rows of the table sales with an event_id, any number of them.

        `complete_until` is the Monday before which all sales of the shop were told. Sent again, an event does not count again, so that a
        request whose answer was lost may be. Raises ClientError (404) naming unknown SKUs, (422) naming a wrong field.
        """
        rows = [{name: _value(value) for name, value in event.items()} for event in observations]
        requests: list[dict[str, Any]] = [{"observations": rows[i : i + MAX_SKUS]} for i in range(0, len(rows), MAX_SKUS)] or [{}]
        requests[-1] |= {"complete_until": complete_until.isoformat()} if complete_until else {}
        answers = [self._ask("POST", "/v1/observe", json=request) for request in requests]
        accepted, duplicates, contained = (sum(answer[name] for answer in answers) for name in ("accepted", "duplicates", "contained"))
        return Observed(accepted, duplicates, contained, date.fromisoformat(answers[-1]["origin"]))

    def sku(self, sku_id: str) -> dict[str, Any]:
        """A product, its sales so far, and its forecast."""
        return self._ask("GET", f"/v1/sku/{quote(sku_id, safe='')}")

    def substitutes(self, sku_id: str, limit: int = 5) -> list[dict[str, Any]]:
        """What to offer in a product's place, the nearest first. Raises ClientError (404) where the last run has no forecast of it."""
        return self._ask("GET", f"/v1/sku/{quote(sku_id, safe='')}/substitutes", params={"limit": limit})["substitutes"]

    def skus(
        self, words: str = "", stage: str | None = None, sort: str = "sku_id", descending: bool = False, page: int = 1000
    ) -> Iterator[dict[str, Any]]:
        """Products of the catalog of whose key, title, category and brand every word is a part.

        In the order of sku_id, title, list_price, units or ending; those without a value come last.
        """
        asked = {"q": words, "sort": sort, "descending": descending} | ({"stage": stage} if stage else {})
        return self._pages("/v1/skus", "skus", asked, page)

    def alerts(self, kind: str | None = None, page: int = 1000) -> Iterator[dict[str, Any]]:
        """Risks of the last decisions (rows of the table decisions), of one kind or all, the most money at stake first."""
        return self._pages("/v1/alerts", "alerts", {"kind": kind} if kind else {}, page)

    def _pages(self, path: str, rows: str, asked: Mapping[str, Any], page: int) -> Iterator[dict[str, Any]]:
        offset, total = 0, 1
        while offset < total:
            found = self._ask("GET", path, params={**asked, "limit": page, "offset": offset})
            yield from found[rows]
            offset, total = offset + page, found["total"]

    def model(self) -> dict[str, Any]:
        """Digest, card and horizon of the model that answers."""
        return self._ask("GET", "/v1/model")

    def wait_until_ready(self, timeout_s: float = 60) -> None:
        """Returns as soon as the model answers. Raises the last error after the timeout."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                self._once("GET", "/readyz")
                return
            except (httpx.TransportError, ClientError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _score(self, requests: Sequence[Mapping[str, Any]]) -> Forecasts:
        if not requests:
            raise ValueError("nothing to score: name at least one SKU or product")
        answers = [self._ask("POST", "/v1/score", json=request) for request in requests]
        forecasts = [forecast for answer in answers for forecast in answer["forecasts"]]
        skipped = [row for answer in answers for row in answer["skipped"]]
        return Forecasts(
            model=answers[0]["model"],
            origin=date.fromisoformat(answers[0]["origin"]),
            curve=_frame(CURVE, [{**_key(f), **week} for f in forecasts for week in f["curve"]]),
            events=_frame(EVENT_TABLE, [{**_key(f), **event} for f in forecasts for event in f["events"]]),
            stage=_frame(STAGE_TABLE, [{**_key(f), **f["stage"]} for f in forecasts]),
            skipped=_frame(SKIPPED, skipped),
        )

    def _ask(self, method: str, path: str, **options: Any) -> Any:
        return self._send(method, path, **options).json()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The answer; what is worth another try gets it, after the time the server names or twice the last one."""
        wait, left = 0.2, self.tries
        while True:
            try:
                return self._once(method, path, **options)
            except (httpx.TransportError, ClientError) as error:
                left -= 1
                refused = isinstance(error, ClientError) and error.status not in TRY_AGAIN
                if refused or not left:
                    raise
                named = float(error.problem.get("retry_after", 0)) if isinstance(error, ClientError) else 0
                time.sleep(min(max(wait, named), LONGEST_WAIT_S))
                wait *= 2

    def _once(self, method: str, path: str, **options: Any) -> httpx.Response:
        response = self._http.request(method, path, **options)
        if response.is_success:
            return response
        problem: dict[str, Any] = {"title": response.reason_phrase, "detail": response.text}
        with suppress(ValueError):
            problem |= response.json()
        with suppress(KeyError, ValueError):
            problem["retry_after"] = float(response.headers["Retry-After"])
        raise ClientError(response.status_code, problem)


def _plain(product: Mapping[str, Any]) -> dict[str, Any]:
    """A product as JSON takes it."""
    plain = {name: _value(value) for name, value in product.items() if name not in ("image", "history")}
    if product.get("image") is not None:
        photos = product["image"] if isinstance(product["image"], list) else [product["image"]]
        plain["image"] = [base64.b64encode(p if isinstance(p, (bytes, bytearray)) else Path(p).read_bytes()).decode() for p in photos]
    if product.get("history"):
        plain["history"] = [{name: _value(value) for name, value in sale.items()} for sale in product["history"]]
    return plain


def _value(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value


def _key(forecast: Mapping[str, Any]) -> dict[str, Any]:
    return {name: forecast[name] for name in KEY}


def _frame(table: Table, rows: list[dict[str, Any]]) -> pl.DataFrame:
    dates = [name for name, kind in table.schema.items() if kind == pl.Date]
    text = {name: pl.String if name in dates else kind for name, kind in table.schema.items()}
    return table.conform(pl.DataFrame(rows, schema=text).with_columns(pl.col(dates).str.to_date()))
