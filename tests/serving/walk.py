"""A client in a process of its own: it walks every route of a served application and leaves what it was told in a folder.

python -m tests.serving.walk URL TOKEN FOLDER, where FOLDER/observed.parquet holds what is to be observed, whole weeks of the shop.
"""

import datetime as dt
import json
import sys
from pathlib import Path
from time import sleep
from typing import Any

import httpx
import polars as pl

from plcp import tables
from plcp.client import Client
from tests.conftest import photo

WEEK = dt.timedelta(weeks=1)
Told = dict[str, Any]


def walk(url: str, token: str, folder: Path) -> None:
    observed, paths = pl.read_parquet(folder / "observed.parquet"), set()
    with Client(url, token, tries=8) as client:
        client._http.event_hooks["response"] = [lambda answer: paths.add(answer.request.url.path)]
        client.wait_until_ready()
        skus = [row["sku_id"] for row in client.skus()]
        take_forecasts(client, skus, folder / "before")
        told = looked_up(client, skus[0]) | a_launch(client, dt.date.fromisoformat(client.model()["origin"]))
        told["observed"] = observe(client, observed)
        take_forecasts(client, skus, folder / "after")
    told["open"] = {path: httpx.get(url + path).status_code for path in ("/", "/healthz", "/readyz", "/v1/model")}
    told["paths"] = sorted(paths)
    (folder / "told.json").write_text(json.dumps(told, default=str))


def take_forecasts(client: Client, skus: list[str], folder: Path) -> None:
    """Every table twice: as JSON, and by Arrow."""
    folder.mkdir()
    forecasts = client.score(skus)
    for table in (tables.CURVE, tables.EVENT_TABLE, tables.STAGE_TABLE, tables.SKIPPED):
        getattr(forecasts, table.name).write_parquet(folder / f"{table.name}-json.parquet")
        client.table(skus, table.name).write_parquet(folder / f"{table.name}-arrow.parquet")


def looked_up(client: Client, sku: str) -> Told:
    path = [{"week": client.model()["origin"], "price": 0.5}]
    return {
        "model": client.model(),
        "sku": client.sku(sku),
        "substitutes": client.substitutes(sku),
        "alerts": list(client.alerts(page=2)),
        "embedding": client.embed([sku], [{"title": "Red mug"}])["sku_id"].to_list(),
        "vectors": len(client.table([sku], "embedding")["vector"][0]),
        "scenario": client.scenario(path, sku, unit_cost=0.1),
        "dearest": [row["list_price"] for row in client.skus(sort="list_price", descending=True, page=7)],
    }


def a_launch(client: Client, origin: dt.date) -> Told:
    """The curves of a product never sold, and after one, two and four weeks of sales, brisk and slow."""
    jug = {"title": "Red enamel jug", "list_price": 12.5, "image": photo((200, 30, 30))}
    curves: Told = {"0": client.score_products([{**jug, "launch_date": origin}]).curve["mean"].to_list()}
    for weeks in (1, 2, 4):
        for name, units in (("brisk", 40.0), ("slow", 1.0)):
            sold = [{"date": origin - k * WEEK, "units": units, "price": 12.5} for k in range(1, weeks + 1)]
            curves[f"{weeks} {name}"] = client.score_products([{**jug, "history": sold}]).curve["mean"].to_list()
    return {"launch": curves}


def observe(client: Client, events: pl.DataFrame) -> Told:
    """Tells the events twice, and waits until the weeks they fill are worked in."""
    last: Any = events["date"].max()
    until = last + dt.timedelta(days=7 - last.weekday())
    first, again = client.observe(events.to_dicts(), until), client.observe(events.to_dicts())
    while client.model()["origin"] != until.isoformat():
        sleep(0.1)
    return {"accepted": first.accepted, "duplicates": again.duplicates}


if __name__ == "__main__":
    walk(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
