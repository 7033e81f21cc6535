"""Routes beside /score and /observe: a path beside its plan, vectors, substitutes, alerts."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from plcp import tables
from plcp.client import Client
from plcp.forecast.shelves import forecasts
from tests.serving.conftest import Shop

PATH = [{"week": "2023-05-08", "price": 1.0}, {"week": "2023-05-15", "price": 1.0, "promo": 0.3}]


def test_a_higher_price_never_sells_more_and_unnamed_weeks_stay_as_planned(client: TestClient) -> None:
    def demand(price: float) -> list[float]:
        weeks = [{"week": "2023-05-08", "price": price}]
        answer = client.post("/v1/scenario", json={"sku_id": "P012", "path": weeks, "unit_cost": 1.0})
        assert answer.status_code == 200, answer.text
        scenario, plan = answer.json()["scenario"], answer.json()["plan"]
        assert scenario["price"][0] == price
        assert scenario["price"][1:] == plan["price"][1:]
        assert scenario["margin"] == pytest.approx(scenario["revenue"] - scenario["demand"])
        return [week["mean"] for week in scenario["curve"]]

    means = [demand(price)[0] for price in (0.5, 1.0, 2.0, 4.0)]
    assert means == sorted(means, reverse=True)
    assert means[0] > means[-1]


def test_a_scenario_names_one_product_and_mondays(client: TestClient) -> None:
    for request in ({"path": PATH}, {"sku_id": "P001", "product": {"title": "mug"}, "path": PATH}, {"sku_id": "P001", "path": []}):
        assert client.post("/v1/scenario", json=request).status_code == 422
    answer = client.post("/v1/scenario", json={"sku_id": "P001", "path": [{"week": "2023-05-09", "price": 1}]})
    assert "is a Tuesday" in answer.json()["detail"]
    assert client.post("/v1/scenario", json={"sku_id": "NOPE", "path": PATH}).status_code == 404
    assert client.post("/v1/scenario", json={"product": {"title": "Red mug"}, "path": PATH}).status_code == 200


@pytest.mark.parametrize(
    ("path", "field", "said"),
    [
        ([], "path", "at least 1 item"),
        ([{"week": "2023-05-08", "price": -2}], "path[0].price", "greater than or equal to 0"),
        ([*PATH, {"week": "2022-12-26", "price": 1}], "path[2].week", "2022-12-26 is none of the weeks forecast, 2023-05-08 to 2023-"),
        ([{"week": "2032-05-10", "price": 1}], "path[0].week", "is none of the weeks forecast"),
        ([{"week": "08.05.2023", "price": 1}], "path[0].week", "'08.05.2023' is no date; write YYYY-MM-DD"),
        ([{"week": 1683504000, "price": 1}], "path[0].week", "no date; write YYYY-MM-DD in quotes"),
        ([{"week": "2023-W19-1", "price": 1}], "path[0].week", "is no date; write YYYY-MM-DD"),
    ],
)
def test_what_is_wrong_with_a_path_is_said_by_its_field(client: TestClient, path: list[dict], field: str, said: str) -> None:
    answer = client.post("/v1/scenario", json={"sku_id": "P001", "path": path})
    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["field"]) == (422, field)
    assert said in error["message"]


@pytest.mark.parametrize("route", ["scenario", "observe", "embed"])
def test_a_body_of_another_kind_is_refused_by_its_kind(client: TestClient, route: str) -> None:
    answer = client.post(f"/v1/{route}", content="{}", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert (answer.status_code, answer.json()["detail"]) == (415, "Content-Type application/x-www-form-urlencoded; send application/json")


def test_vectors_are_those_of_the_run(client: TestClient, shop: Shop) -> None:
    asked = ["P009", "P001", "P009"]
    answer = client.post("/v1/embed", json={"sku_ids": asked, "products": [{"title": "Red mug"}]}).json()
    assert [row["sku_id"] for row in answer["embeddings"]] == [*asked, "product-0"]
    run = dict(tables.read(tables.EMBEDDING, shop.run.root).iter_rows())
    assert answer["embeddings"][0]["vector"] == pytest.approx(run["P009"], abs=1e-2)


def test_substitutes_are_of_the_same_group_and_not_the_product_itself(client: TestClient, shop: Shop) -> None:
    for sku in ("P001", "P009"):
        answer = client.get(f"/v1/sku/{sku}/substitutes", params={"limit": 3})
        assert answer.status_code == 200, answer.text
        own = client.get(f"/v1/sku/{sku}").json()["category"].split(">")[0].strip()
        found = answer.json()["substitutes"]
        assert all(row["category"].split(">")[0].strip() == own and row["sku_id"] != sku for row in found)
        assert [row["similarity"] for row in found] == sorted((row["similarity"] for row in found), reverse=True)
    assert len(forecasts(shop.run)) == 24


def test_where_nothing_was_decided_there_is_no_alert(client: TestClient) -> None:
    assert client.get("/v1/alerts").json() == {"run": None, "total": 0, "alerts": []}
    assert client.get("/v1/alerts", params={"kind": "reorder"}).status_code == 422


def test_every_route_stands_in_the_documentation_and_every_method_named_there_exists(client: TestClient) -> None:
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    described = client.get("/v1/openapi.json").json()["paths"]
    assert [f"{way.upper()} {path}" for path, ways in described.items() for way in ways if f"`{way.upper()} {path}`" not in page] == []
    named = [name for cell in re.findall(r"^\| `(?:GET|POST) .*\| ([^|]+) \|$", page, re.MULTILINE) for name in re.findall(r"\w+", cell)]
    assert len(named) > len(described) - 2
    assert [name for name in named if not hasattr(Client, name)] == []
