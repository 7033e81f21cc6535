"""What was observed since the weekly run enters forecasts as a weekly run over it would have it."""

import asyncio
import datetime as dt
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from plcp import tables
from plcp.serving.observations import Told
from plcp.serving.service import Service
from tests.serving.conftest import ORIGIN, Later, client_of, events_of, service

SKUS = [f"P{i:03d}" for i in range(24)]


@pytest.fixture
def made(later: Later) -> Service:
    return service(later.shop)


@pytest.fixture
def client(made: Service) -> Iterator[TestClient]:
    with client_of(made) as client:
        yield client


def rows(sales: pl.DataFrame) -> list[dict[str, Any]]:
    return events_of(sales).with_columns(pl.col("date").cast(pl.String)).to_dicts()


def tell(client: TestClient, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/observe", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def forecasts(client: TestClient, *skus: str) -> dict[str, dict[str, Any]]:
    answer = client.post("/v1/score", json={"sku_ids": skus}).json()
    return {row["sku_id"]: row for row in answer["forecasts"] + answer["skipped"]}


def mean(forecast: dict[str, Any]) -> list[float]:
    return [week["mean"] for week in forecast["curve"]]


def test_whole_weeks_told_of_the_shop_give_the_numbers_of_a_weekly_run_over_them(client: TestClient, made: Service, later: Later) -> None:
    before = forecasts(client, *SKUS)
    assert {row["origin"] for row in before.values()} == {str(ORIGIN)}
    told = tell(client, observations=rows(later.sales), complete_until=str(ORIGIN + dt.timedelta(weeks=2)))
    assert told["accepted"] == len(later.sales)
    made.live.wait(made.stock.catalogue())
    after = forecasts(client, *SKUS)
    weekly = tables.read(tables.CURVE, later.run.root).sort("sku_id", "week")
    assert {row["origin"] for row in after.values()} == {str(weekly["origin"][0])}
    online = [[week[q] for q in ("mean", *tables.QUANTILES)] for sku in SKUS if "curve" in after[sku] for week in after[sku]["curve"]]
    np.testing.assert_allclose(online, weekly.select("mean", *tables.QUANTILES).to_numpy(), rtol=1e-4, atol=1e-6)
    events = tables.read(tables.EVENT_TABLE, later.run.root).sort("sku_id", maintain_order=True)["p_12w"].to_numpy()
    np.testing.assert_allclose([e["p_12w"] for s in SKUS if "curve" in after[s] for e in after[s]["events"]], events, rtol=1e-4)
    assert client.get("/v1/model").json()["origin"] == str(weekly["origin"][0])
    inline = {"title": "Red mug", "history": [{"date": str(ORIGIN + dt.timedelta(days=9)), "units": 3}]}
    assert client.post("/v1/score", json={"products": [inline]}).json()["origin"] == str(weekly["origin"][0])


def test_one_products_own_sales_move_it_alone(client: TestClient, later: Later) -> None:
    sold = later.sales["sku_id"].value_counts(sort=True)["sku_id"][0]
    others = [sku for sku in SKUS if sku != sold]
    before = forecasts(client, *SKUS)
    tell(client, observations=rows(later.sales.filter(pl.col("sku_id") == sold)))
    after = forecasts(client, *SKUS)
    assert [after[sku] for sku in others] == [before[sku] for sku in others]
    assert after[sold]["origin"] == str(ORIGIN + dt.timedelta(weeks=2))
    weekly = tables.read(tables.CURVE, later.run.root).filter(pl.col("sku_id") == sold)
    assert after[sold]["curve"][0]["week"] == str(weekly["week"][0])
    stood = [np.log(np.array(told) / weekly["mean"].to_numpy()[:24]) for told in (mean(before[sold])[2:], mean(after[sold])[:24])]
    unmoved, moved = (np.abs(off).mean() for off in stood)
    assert moved < 0.1 < unmoved, "near to the weekly run, though its siblings are still those of the last one"


def test_a_product_is_kept_ready_until_events_of_its_own_move_it(client: TestClient, made: Service) -> None:
    first = forecasts(client, "P001", "P002")
    assert forecasts(client, "P001", "P002") == first
    assert (made.cache.hits, made.cache.misses) == (2, 2)
    tell(client, observations=[{"event_id": "1", "sku_id": "P001", "date": str(ORIGIN), "units": 40}])
    for hits in (3, 4):
        moved = forecasts(client, "P001", "P002")
        assert (made.cache.hits, made.cache.misses) == (hits, 2), "what was read with the event is not kept: another may follow it"
        assert moved["P001"]["origin"] == str(ORIGIN + dt.timedelta(weeks=1))
        assert moved["P002"] == first["P002"]


def test_a_sale_of_today_moves_the_forecast_at_once_and_an_empty_morning_hardly(client: TestClient, later: Later) -> None:
    sku = next(row["sku_id"] for row in forecasts(client, *SKUS).values() if "curve" in row and mean(row)[0] > 1)
    monday = ORIGIN.isoformat()
    before = forecasts(client, sku)[sku]
    tell(client, observations=[{"event_id": "1", "sku_id": sku, "date": monday, "units": mean(before)[0] / 7}])
    quiet = forecasts(client, sku)[sku]
    assert quiet["origin"] == str(ORIGIN + dt.timedelta(weeks=1)), "the week enters with what the forecast expects of its rest"
    tell(client, observations=[{"event_id": "2", "sku_id": sku, "date": monday, "units": 40 * mean(before)[0]}])
    burst = forecasts(client, sku)[sku]
    moved = [abs(np.log(mean(row)[0] / mean(before)[1])) for row in (quiet, burst)]
    assert moved[0] < 0.5 * moved[1]
    history = client.get(f"/v1/sku/{sku}").json()["history"]
    assert history[-1]["week"] == monday
    assert history[-1]["units"] == pytest.approx(mean(before)[0] * (40 + 1 / 7), abs=1e-3)


def test_what_was_observed_is_worked_in_beside_the_event_loop(
    client: TestClient, made: Service, later: Later, monkeypatch: pytest.MonkeyPatch
) -> None:
    observed, on_loop = made.live.observed, []

    def noted(*arguments: Any) -> Any:
        on_loop.append(runs_a_loop())
        return observed(*arguments)

    def looked_up(*skus: str) -> list[bool]:
        on_loop.clear()
        for sku in skus:
            assert client.get(f"/v1/sku/{sku}").status_code == 200
        return on_loop

    monkeypatch.setattr(made.live, "observed", noted)
    assert looked_up("P001", "P002") == [True, True]
    tell(client, observations=[{"event_id": "1", "sku_id": "P001", "date": str(ORIGIN), "units": 4}])
    assert looked_up("P001", "P002") == [False, True]
    tell(client, complete_until=str(ORIGIN + dt.timedelta(weeks=1)))
    made.live.wait(made.stock.catalogue())
    assert looked_up("P001", "P002") == [False, False]


def runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_probes_ask_no_store_of_observations(client: TestClient, made: Service, later: Later, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Told:
        raise OSError("the store is away")

    monkeypatch.setattr(made.live.observations, "told", away)
    monkeypatch.setattr(made, "_checked", -1e9)
    assert client.get("/readyz").status_code == 200


def test_an_event_told_again_and_one_the_run_holds_change_nothing(client: TestClient) -> None:
    event = {"event_id": "e", "sku_id": "P001", "date": str(ORIGIN), "units": 5}
    assert tell(client, observations=[event, event])["duplicates"] == 1
    first = forecasts(client, "P001")
    old = {"event_id": "old", "sku_id": "P001", "date": str(ORIGIN - dt.timedelta(days=1)), "units": 500}
    again = tell(client, observations=[event, old])
    assert {name: again[name] for name in ("accepted", "duplicates", "contained")} == {"accepted": 0, "duplicates": 1, "contained": 1}
    assert forecasts(client, "P001") == first


def test_another_replica_and_a_restarted_one_see_what_was_acknowledged(later: Later, tmp_path: Path) -> None:
    store = tmp_path / "observed.sqlite"
    one, other = service(later.shop, observed=store), service(later.shop, observed=store)
    with client_of(one) as first, client_of(other) as second:
        tell(first, observations=rows(later.sales))
        assert forecasts(second, *SKUS) == (seen := forecasts(first, *SKUS))
        tell(second, complete_until=str(ORIGIN + dt.timedelta(weeks=1)))
        one.live.wait(one.stock.catalogue())
        whole = forecasts(first, *SKUS)
        assert whole != seen
    with client_of(service(later.shop, observed=store)) as restarted:
        assert forecasts(restarted, *SKUS) == whole


def test_a_weekly_run_that_holds_them_drops_them(later: Later, tmp_path: Path) -> None:
    store = tmp_path / "observed.sqlite"
    with client_of(service(later.shop, observed=store)) as client:
        tell(client, observations=rows(later.sales), complete_until=str(ORIGIN + dt.timedelta(weeks=2)))
    newer = service(replace(later.shop, prepared=later.new), observed=store)
    assert newer.live.observations.of(SKUS, dt.date(2000, 1, 1)).is_empty()
    with client_of(newer) as client, client_of(service(replace(later.shop, prepared=later.new))) as fresh:
        assert forecasts(client, *SKUS) == forecasts(fresh, *SKUS)


TODAY = dt.date.today()
RIGHT = {"event_id": "e", "sku_id": "P001", "date": str(ORIGIN), "units": 1}


@pytest.mark.parametrize(
    ("request_", "field", "said"),
    [
        ({}, "body", "tell at least one"),
        ({"observations": [RIGHT, {**RIGHT, "units": -1}]}, "observations[1].units", "greater than or equal to 0"),
        ({"observations": [{**RIGHT, "units": 1e10}]}, "observations[0].units", "beyond 1e+09"),
        ({"observations": [{**RIGHT, "units": 1e8, "price": 1e8}]}, "observations[0].price", "price × units beyond"),
        ({"observations": [{**RIGHT, "in_stock": 1.5}]}, "observations[0].in_stock", "less than or equal to 1"),
        ({"observations": [{**RIGHT, "event_id": ""}]}, "observations[0].event_id", "at least 1 character"),
        ({"observations": [{**RIGHT, "date": str(TODAY + dt.timedelta(days=3))}]}, "observations[0].date", "in the future"),
        ({"observations": [{**RIGHT, "date": str(ORIGIN + dt.timedelta(weeks=52))}]}, "observations[0].date", "make a new one"),
        ({"observations": [{**RIGHT, "colour": "red"}]}, "observations[0].colour", "not permitted"),
        ({"complete_until": "2023-05-09"}, "complete_until", "is a Tuesday; give the Monday"),
        ({"complete_until": str(TODAY + dt.timedelta(days=21 - TODAY.weekday()))}, "complete_until", "is not over"),
    ],
)
def test_what_cannot_be_is_named_and_none_of_the_request_kept(
    client: TestClient, made: Service, request_: dict[str, Any], field: str, said: str
) -> None:
    answer = client.post("/v1/observe", json=request_)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert said in answer.json()["detail"]
    assert made.live.observations.told().last_day is None


def test_an_unknown_product_is_named_and_none_of_the_request_kept(client: TestClient, made: Service) -> None:
    answer = client.post("/v1/observe", json={"observations": [RIGHT, {**RIGHT, "event_id": "f", "sku_id": "NOPE"}]})
    assert (answer.status_code, answer.json()["sku_ids"]) == (404, ["NOPE"])
    assert "enters the catalog with a weekly run" in answer.json()["detail"]
    assert made.live.observations.told().last_day is None
