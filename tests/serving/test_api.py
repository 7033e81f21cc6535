import asyncio
import base64
import datetime as dt
import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.testclient import TestClient
from starlette.types import Message

from plcp import tables
from plcp.data.contract import Dataset
from plcp.data.prepared import PrepareConfig, Prepared, prepare
from plcp.forecast.runs import Run, publish
from plcp.forecast.values import Values
from plcp.serving import arrow
from plcp.serving.api import body_of, create_api
from plcp.serving.auth import fingerprint
from plcp.serving.cases import Case
from plcp.serving.problems import MEDIA_TYPE, ProblemError
from plcp.serving.reading import Shown
from plcp.serving.schemas import SkuAnswer
from plcp.serving.texts import number_texts
from tests.conftest import little_shop, photo
from tests.forecast.shop import score_here, tiny_artifact
from tests.serving.conftest import Shop, client_of, service

ORIGIN = dt.date(2023, 5, 8)


def score(client: TestClient, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/score", json=request)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refused(client: TestClient, **request: Any) -> dict[str, Any]:
    answer = client.post("/v1/score", json=request)
    assert answer.headers["content-type"] == MEDIA_TYPE
    assert answer.json()["status"] == answer.status_code
    return answer.json()


def test_skus_are_answered_in_the_order_asked_even_twice_and_over_several_passes(client: TestClient) -> None:
    asked = ["P020", "P003", "P003", *(f"P{i:03d}" for i in range(12))]
    assert [forecast["sku_id"] for forecast in score(client, sku_ids=asked)["forecasts"]] == asked


def test_the_answer_has_the_numbers_of_the_weekly_table(client: TestClient, shop: Shop) -> None:
    asked = [f"P{i:03d}" for i in range(24)]
    answer = score(client, sku_ids=asked)
    weekly = tables.read(tables.CURVE, shop.run.root).sort("sku_id", "week")
    online = [[week[q] for q in ("mean", *tables.QUANTILES)] for forecast in answer["forecasts"] for week in forecast["curve"]]
    np.testing.assert_allclose(online, weekly.select("mean", *tables.QUANTILES).to_numpy(), rtol=1e-4, atol=1e-6)
    events = tables.read(tables.EVENT_TABLE, shop.run.root).sort("sku_id", maintain_order=True)["p_12w"].to_numpy()
    np.testing.assert_allclose([e["p_12w"] for f in answer["forecasts"] for e in f["events"]], events, rtol=1e-4)
    stages = tables.read(tables.STAGE_TABLE, shop.run.root).sort("sku_id")
    assert [f["stage"]["stage"] for f in answer["forecasts"]] == stages["stage"].to_list()
    assert answer["model"] == service(shop).forecaster.digest


def test_a_forecast_that_is_no_number_is_refused_by_its_sku_in_every_form(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = service(shop)
    values = made.packer.values

    def broken(cases: Sequence[Case]) -> Values:
        found = values(cases)
        found.mean[[case.sku_id == "P003" for case in cases], 5] = np.inf
        return found

    monkeypatch.setattr(made.packer, "values", broken)
    with client_of(made) as client:
        answers: list[Any] = [client.post("/v1/score", json={"sku_ids": ["P001", "P003"]}), arrow_of(client, "P001", "P003")]
        assert arrow_of(client, "P001").status_code == 200
    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"], answer.json()["sku_ids"]) == (500, MEDIA_TYPE, ["P003"])
        assert "is not a number: P003" in answer.json()["detail"]


def arrow_of(client: TestClient, *skus: str) -> Any:
    stream = io.BytesIO()
    pl.DataFrame({"sku_id": skus}).write_ipc_stream(stream, compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    return client.post("/v1/score", content=stream.getvalue(), headers={"Content-Type": arrow.MEDIA_TYPE})


def test_a_stream_is_refused_as_soon_as_it_is_too_large() -> None:
    come: list[int] = []

    async def receive() -> Message:
        come.append(1 << 20)
        return {"type": "http.request", "body": bytes(1 << 20), "more_body": True}

    for headers, most in (([], 4), ([(b"content-length", b"4194304")], 1)):
        come.clear()
        with pytest.raises(ProblemError, match="more than 3,145,728 bytes") as refused:
            asyncio.run(body_of(Request({"type": "http", "headers": headers}, receive), 3 << 20))
        assert (refused.value.details.status, len(come)) == (413, most)


def test_a_table_is_asked_for_by_arrow_alone(client: TestClient) -> None:
    answer = client.post("/v1/score", json={"sku_ids": ["P001"]}, params={"table": "curve"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "table")


def test_an_unknown_sku_is_named(client: TestClient) -> None:
    problem = refused(client, sku_ids=["P001", "NOPE", "P002", "ZZZ"])
    assert (problem["status"], problem["sku_ids"]) == (404, ["NOPE", "ZZZ"])
    assert problem["detail"] == "not in the catalog: NOPE, ZZZ"


def whole_product(sku_id: str) -> dict[str, Any]:
    """A product of the little shop as a request gives it."""
    shop = little_shop(24)
    row = shop["products"].filter(pl.col("sku_id") == sku_id).row(0, named=True)
    sales = shop["sales"].filter((pl.col("sku_id") == sku_id) & pl.col("cancelled_at").is_null())
    return {
        **{name: row[name] for name in ("title", "category", "brand", "list_price")},
        "attributes": json.loads(row["attributes"]) if row["attributes"] else None,
        "image": base64.b64encode(row["image"]).decode() if row["image"] else None,
        "launch_date": row["launch_date"].isoformat() if row["launch_date"] else None,
        "history": [{**sale, "date": sale["date"].isoformat()} for sale in sales.drop("sku_id", "cancelled_at").to_dicts()],
    }


def test_a_whole_product_gets_what_the_weekly_run_gives_the_same_product_in_the_catalog(tmp_path: Path) -> None:
    shop = little_shop(24)
    other = set(shop["reviews"]["sku_id"]) | set(shop["plans"]["sku_id"])
    renamed = shop["products"]["sku_id"].filter(shop["products"]["sku_id"].is_duplicated())
    taken_back = shop["sales"].filter(pl.col("cancelled_at").is_not_null())["sku_id"]
    plain = next(s for s in shop["products"]["sku_id"] if s not in other | set(renamed) | set(taken_back))
    told = Dataset.of({name: frame for name, frame in shop.items() if name not in ("vectors", "baskets")})  # which no request can tell
    prepared = prepare(told, tmp_path / "prepared", PrepareConfig(skus_per_shard=8))
    model = tiny_artifact(tmp_path / "model", prepared, lively=True)
    with client_of(service(Shop(prepared.root, model, tmp_path, Run(tmp_path)))) as client:
        by_key = score(client, sku_ids=[plain])["forecasts"][0]
        inline = score(client, products=[whole_product(plain)])["forecasts"][0]
    assert [week["age"] for week in inline["curve"]] == [week["age"] for week in by_key["curve"]]
    values = [[[week[q] for q in ("mean", *tables.QUANTILES)] for week in forecast["curve"]] for forecast in (inline, by_key)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4, atol=1e-6)


def test_a_product_never_seen_gets_curve_events_and_stage_from_its_launch_on(client: TestClient) -> None:
    jug = {"sku_id": "jug", "title": "Red enamel jug", "list_price": 12.5, "launch_date": "2023-06-01", "image": encoded_photo()}
    mug = {"title": "Blue mug", "attributes": {"glaze": "matt"}}
    answer = score(client, sku_ids=["P001"], products=[jug, mug])
    first, second = answer["forecasts"][1:]
    assert (first["sku_id"], second["sku_id"]) == ("jug", "product-1")
    assert (first["curve"][0]["week"], first["curve"][0]["age"], len(first["curve"])) == ("2023-05-29", 0, 26)
    assert second["curve"][0]["week"] == ORIGIN.isoformat(), "without a launch date it is launched at the origin"
    assert [event["event"] for event in first["events"]] == list(tables.EVENTS)
    assert first["stage"]["stage"] == "introduction"


def encoded_photo() -> str:
    return base64.b64encode(photo((200, 30, 30))).decode()


def test_the_first_weeks_of_sales_move_the_curve(client: TestClient) -> None:
    weeks = [{"date": (ORIGIN - dt.timedelta(weeks=k)).isoformat(), "units": 10 * k} for k in range(1, 5)]
    answer = score(
        client, products=[{"title": "Red mug"}, {"title": "Red mug", "history": weeks[:1]}, {"title": "Red mug", "history": weeks}]
    )
    means = [forecast["curve"][0]["mean"] for forecast in answer["forecasts"]]
    assert len(set(means)) == 3
    assert [forecast["curve"][0]["age"] for forecast in answer["forecasts"]] == [0, 1, 4]


def test_a_product_that_cannot_be_forecast_is_listed_with_the_reason(client: TestClient) -> None:
    answer = score(client, products=[{"title": "Red mug"}, {"sku_id": "late", "title": "Red mug", "launch_date": "2033-01-03"}])
    assert len(answer["forecasts"]) == 1
    assert answer["skipped"] == [
        {"sku_id": "late", "origin": "2023-05-08", "reason": "its launch_date is more than 52 weeks ahead; forecast it later"}
    ]


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (base64.b64encode(b"hello").decode(), "not an image"),
        ("https://shop.example/jug.png", "not base64"),
        (base64.b64encode(photo((1, 2, 3))[:-30]).decode(), "not an image that can be read"),
        (7, "a photo is given in base64"),
        (["x"] * 9, "9 photos, at most 8"),
    ],
)
def test_an_image_that_is_none_is_named_by_its_field(client: TestClient, image: object, said: str) -> None:
    problem = refused(client, products=[{"title": "a"}, {"title": "Red mug", "image": image}])
    assert problem["status"] == 422
    assert [error["field"] for error in problem["errors"]] == ["products[1].image"]
    assert said in problem["errors"][0]["message"]


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        ({}, "body"),
        ({"sku_ids": ["x"] * 10_001}, "sku_ids"),
        ({"products": [{}]}, "products[0].title"),
        ({"products": [{"title": "a", "list_price": -1}]}, "products[0].list_price"),
        ({"products": [{"title": "a", "colour": "red"}]}, "products[0].colour"),
        ({"products": [{"title": "a", "history": [{"date": "2023-05-01", "units": -1}]}]}, "products[0].history[0].units"),
        ({"products": [{"title": "a", "history": [{"date": "2023-05-08", "units": 1}]}]}, "products[0].history[0].date"),
        ({"products": [{"title": "a", "history": [{"date": "2022-01-02", "units": 1}]}]}, "products[0].history[0].date"),
        ({"products": [{"title": "a", "history": [{"date": "2023-05-01", "units": 1, "promo": 1.5}]}]}, "products[0].history[0].promo"),
    ],
)
def test_a_wrong_field_is_named(client: TestClient, request_: dict[str, Any], field: str) -> None:
    problem = refused(client, **request_)
    assert problem["status"] == 422
    assert field in [error["field"] for error in problem["errors"]]


def test_a_product_of_the_last_run_is_shown_with_its_sales_and_the_forecast_of_that_run(client: TestClient, shop: Shop) -> None:
    answer = client.get("/v1/sku/P007").json()
    assert (answer["sku_id"], answer["run"], answer["skipped"]) == ("P007", shop.run.root.name, None)
    weekly = tables.read(tables.CURVE, shop.run.root).filter(pl.col("sku_id") == "P007")
    assert [week["q50"] for week in answer["forecast"]["curve"]] == weekly["q50"].to_list()
    assert len(answer["history"]) == 70
    closed = next(week for week in answer["history"] if week["week"] == "2022-08-15")
    assert closed["units"] is None, "the shop was shut"


def test_what_is_told_of_a_product_is_json_of_its_schema(client: TestClient, shop: Shop) -> None:
    with client_of(service(shop)) as without_a_run:
        for asked in (client, without_a_run):
            for sku in range(24):
                body = asked.get(f"/v1/sku/P{sku:03d}").content
                assert SkuAnswer.model_validate_json(body).sku_id == f"P{sku:03d}"
                json.loads(body, parse_constant=pytest.fail)


def test_numbers_that_are_none_are_null() -> None:
    shown = Shown({"units": np.nan, "decisions": [{"expected_effect": -np.inf, "rank": 1}]}, b"[]", True, None, None)
    answer = json.loads(shown.body(None, None), parse_constant=pytest.fail)
    assert (answer["units"], answer["decisions"]) == (None, [{"expected_effect": None, "rank": 1}])
    assert number_texts(np.array([[np.inf, 2.5], [np.nan, 0]])) == [["null", "2.5"], ["null", "0.0"]]


def test_without_a_run_the_forecast_is_made_for_the_request(shop: Shop) -> None:
    with client_of(service(shop)) as client:
        answer = client.get("/v1/sku/P007").json()
    assert answer["run"] is None
    assert len(answer["forecast"]["curve"]) == 26


def test_readers_move_on_when_the_next_run_is_published(shop: Shop, tmp_path: Path) -> None:
    first = score_here(shop.model, shop.prepared, tmp_path)
    made = service(shop, tmp_path)
    assert made.reader.published
    with client_of(made) as client:
        assert client.get("/v1/sku/P007").json()["run"] == first.root.name
        other = tiny_artifact(tmp_path / "model", Prepared.open(shop.prepared), seed=1)
        second = score_here(other, shop.prepared, tmp_path)
        made.reader.published.newest()
        assert client.get("/v1/sku/P007").json()["run"] == second.root.name
        publish(tmp_path, first.root.name)
        made.reader.published.newest()
        assert client.get("/v1/model").json()["run"] == first.root.name


def test_an_unknown_product_is_not_found(client: TestClient) -> None:
    answer = client.get("/v1/sku/a/b%20c")
    assert (answer.status_code, answer.json()["sku_ids"]) == (404, ["a/b c"])


def test_the_catalog_is_searched_by_words_and_stage_and_given_in_pages(client: TestClient) -> None:
    everything = client.get("/v1/skus").json()
    assert everything["total"] == 24
    mugs = client.get("/v1/skus", params={"q": "MUG home"}).json()
    assert 0 < mugs["total"] < 24
    assert all("mug" in sku["title"] and sku["category"].startswith("Home") for sku in mugs["skus"])
    page = client.get("/v1/skus", params={"limit": 5, "offset": 20}).json()
    assert [sku["sku_id"] for sku in page["skus"]] == ["P020", "P021", "P022", "P023"]
    per_stage = [client.get("/v1/skus", params={"stage": stage}).json()["total"] for stage in tables.STAGES]
    assert sum(per_stage) == 24
    assert client.get("/v1/skus", params={"stage": "adolescence"}).json()["errors"][0]["field"] == "stage"


def test_the_model_tells_what_it_is(client: TestClient, shop: Shop) -> None:
    answer = client.get("/v1/model").json()
    assert (answer["origin"], answer["horizon"], answer["run"]) == ("2023-05-08", 26, shop.run.root.name)
    assert answer["card"].startswith("# PLCP life-cycle model")


def test_probes_in_a_row_cost_one_pass_through_the_model(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    made = service(shop)
    passes: list[int] = []
    values = made.packer.values

    def counted(cases: Sequence[Case]) -> Values:
        passes.append(len(cases))
        return values(cases)

    monkeypatch.setattr(made.packer, "values", counted)
    monkeypatch.setattr(made, "_checked", -1e9)
    with client_of(made) as client:
        assert [client.get("/readyz").status_code for _ in range(5)] == [200] * 5
    assert passes == [1]


def test_a_catalog_replaced_under_the_endpoint_is_answered_from_anew(shop: Shop, tmp_path: Path) -> None:
    folder = shutil.copytree(shop.prepared, tmp_path / "prepared")
    first = Prepared.open(folder)
    made = service(replace(shop, prepared=folder))
    with client_of(made) as client:
        assert score(client, sku_ids=["P001"])["origin"] == ORIGIN.isoformat()
        shop_now = little_shop(30, weeks=75, seed=3)
        prepare(Dataset.of(shop_now), folder, PrepareConfig(skus_per_shard=8))
        made.stock.newest()
        answer = score(client, sku_ids=["P029", "P001"], products=[{"title": "Red mug"}])
        model = client.get("/v1/model").json()
        sold = client.get("/v1/sku/P004").json()["history"]
    assert {row["sku_id"] for row in answer["forecasts"] + answer["skipped"]} == {"P029", "P001", "product-0"}
    assert answer["origin"] == (ORIGIN + dt.timedelta(weeks=5)).isoformat()
    assert model["prepared"] == Prepared.open(folder).digest != first.digest
    stood = shop_now["sales"].filter((pl.col("sku_id") == "P004") & pl.col("cancelled_at").is_null())
    assert sum(week["units"] or 0 for week in sold) == stood["units"].sum()


def test_a_catalog_that_is_gone_is_not_ready_rather_than_broken(shop: Shop, tmp_path: Path) -> None:
    folder = shutil.copytree(shop.prepared, tmp_path / "prepared")
    made = service(replace(shop, prepared=folder))
    shutil.rmtree(made.stock.catalogue().snapshot.root)
    with client_of(made) as client:
        answer = client.post("/v1/score", json={"sku_ids": ["P001"]})
    assert (answer.status_code, answer.headers["content-type"]) == (503, MEDIA_TYPE)
    assert str(tmp_path) not in answer.text


def test_prepared_data_replaced_by_what_cannot_be_read_leaves_the_last_in_use(shop: Shop, tmp_path: Path) -> None:
    folder = shutil.copytree(shop.prepared, tmp_path / "prepared")
    made = service(replace(shop, prepared=folder))
    with client_of(made) as client:
        before = score(client, sku_ids=["P001"])
        (folder / "manifest.json").write_text("{}")
        made.stock.newest()
        assert score(client, sku_ids=["P001"]) == before


def test_a_poster_of_a_photo_is_refused_before_it_is_decoded(client: TestClient) -> None:
    large = io.BytesIO()
    Image.new("1", (5000, 4000)).save(large, "PNG")
    problem = refused(client, products=[{"title": "Red mug", "image": base64.b64encode(large.getvalue()).decode()}])
    assert (problem["status"], problem["errors"][0]["field"]) == (422, "products[0].image")
    assert "more than 16,000,000" in problem["detail"]


def test_probes_answer(client: TestClient) -> None:
    assert [client.head(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json()["ready"] is True


def test_the_page_is_self_contained_and_may_load_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert {part.split('"')[0] for part in answer.text.split("http")[1:]} == {"://www.w3.org/2000/svg"}, "a name, not an address"


def test_what_does_not_exist_is_a_problem_too(client: TestClient) -> None:
    assert client.get("/v1/nothing").headers["content-type"] == MEDIA_TYPE
    assert client.get("/v1/score").status_code == 405


def test_the_description_of_the_api_has_the_tables_columns(client: TestClient) -> None:
    schemas = client.get("/v1/openapi.json").json()["components"]["schemas"]
    for name, table in (("CurveWeek", tables.CURVE), ("Event", tables.EVENT_TABLE), ("Stage", tables.STAGE_TABLE)):
        expected = {column.name: column.doc for column in table.columns if column.name not in ("sku_id", "origin")}
        assert {field: schema["description"] for field, schema in schemas[name]["properties"].items()} == expected
    assert schemas["Stage"]["properties"]["stage"]["enum"] == list(tables.STAGES)
    assert schemas["Sale"]["properties"]["units"]["minimum"] == 0
    asked = client.get("/v1/openapi.json").json()["paths"]["/v1/score"]["post"]
    for content in (asked["requestBody"]["content"], asked["responses"]["200"]["content"]):
        assert set(content) == {"application/json", "application/vnd.apache.arrow.stream"}
    assert {"413", "415", "422", "503"} <= set(asked["responses"])
    assert {status for status, said in asked["responses"].items() if set(said["content"]) != {MEDIA_TYPE}} == {"200"}
    assert asked["responses"]["422"]["content"][MEDIA_TYPE]["schema"]["$ref"].endswith("/ProblemDetails")


def test_the_description_of_the_api_names_the_token_where_one_is_asked_for(client: TestClient, shop: Shop) -> None:
    assert "security" not in client.get("/v1/openapi.json").json()
    described = create_api(service(shop), fingerprint("a token of the tests' own")).openapi()
    (scheme,) = described["components"]["securitySchemes"].items()
    assert scheme == ("token", {"type": "http", "scheme": "bearer"})
    assert described["security"] == [{"token": []}]
    free = {path for path, methods in described["paths"].items() for said in methods.values() if said.get("security") == []}
    assert free == {"/healthz", "/readyz"}
