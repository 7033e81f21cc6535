"""Real tables for the tests: a little shop in the contract, and the benchmark's data where it is at hand."""

import datetime as dt
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import settings
from PIL import Image

settings.register_profile("plcp", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("plcp")

FIRST_WEEK = dt.date(2022, 1, 3)


@pytest.fixture(scope="session")
def bench_data() -> Path:
    """The folder of real data sets; tests that need it are left out where PLCP_BENCH_DATA is not set."""
    folder = os.environ.get("PLCP_BENCH_DATA")
    if not folder:
        pytest.skip("PLCP_BENCH_DATA is not set: tests on real data are left out")
    return Path(folder).resolve()


def photo(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 24), color).save(buffer, "PNG")
    return buffer.getvalue()


def little_shop(skus: int = 40, weeks: int = 70, seed: int = 0) -> dict[str, pl.DataFrame]:
    """Contract tables of a shop with launches (announced or not), ends, late cancellations, renamed products, photos, reviews, plans,
    bulk orders, and every optional channel."""
    rng = np.random.default_rng(seed)
    names = np.array([f"P{i:03d}" for i in range(skus)])
    launch = np.where(rng.random(skus) < 0.4, 0, rng.integers(9, weeks - 10, skus))
    life = rng.integers(15, weeks, skus)
    level = rng.lognormal(1.5, 1, skus)
    day = np.tile(np.arange(weeks * 7), (skus, 1))
    age = day / 7 - launch[:, None]
    rate = np.where((age >= 0) & (age < life[:, None]), level[:, None] / 7 * (1 + 0.5 * np.sin(day / 58)), 0)
    units = rng.poisson(rate)
    units[:, 32 * 7 : 33 * 7] = 0  # the shop is shut for a week
    i, d = np.nonzero(units)
    date = np.array(FIRST_WEEK, "datetime64[D]") + d
    taken_back = rng.random(len(i)) < 0.04
    cancelled = np.where(taken_back, date + rng.integers(0, 40, len(i)), np.datetime64("NaT"))
    last_day = np.array(FIRST_WEEK, "datetime64[D]") + weeks * 7 - 1
    cancelled = np.where(cancelled > last_day, np.datetime64("NaT"), cancelled)
    sales = pl.DataFrame(
        {
            "sku_id": names[i],
            "date": date,
            "units": units[i, d].astype(float),
            "price": np.round(rng.lognormal(1, 0.3, skus)[i] * (1 - 0.2 * (d % 90 < 7)), 2),
            "promo": np.where(d % 90 < 7, 0.2, 0.0),
            "in_stock": np.where(rng.random(len(i)) < 0.05, 0.5, 1.0),
            "cancelled_at": pl.Series(cancelled.astype("datetime64[D]")),
        }
    ).with_columns(pl.col("date").cast(pl.Date), pl.col("cancelled_at").cast(pl.Date))
    known = np.array(FIRST_WEEK, "datetime64[D]") + launch * 7 - 10
    first = pl.DataFrame(
        {
            "sku_id": names,
            "title": [
                f"{c} {t} no {k}"
                for k, (c, t) in enumerate(zip(rng.choice(["red", "blue"], skus), rng.choice(["mug", "lamp"], skus), strict=True))
            ],
            "category": rng.choice(["Home > Kitchen", "Home > Light", "Garden"], skus),
            "brand": rng.choice(["Acme", "Bolt"], skus),
            "image": [photo(tuple(rng.integers(0, 255, 3).tolist())) if k % 3 else None for k in range(skus)],
            "list_price": np.round(rng.lognormal(1, 0.3, skus), 2),
            "known_at": [None if k % 7 == 2 else day for k, day in enumerate(known.tolist())],
            "launch_date": [
                FIRST_WEEK + dt.timedelta(weeks=int(w) - 5 * (k % 8 == 1)) if k % 4 == 1 else None for k, w in enumerate(launch)
            ],
        },
        schema_overrides={"image": pl.Binary, "known_at": pl.Date, "launch_date": pl.Date},
    )
    later = [FIRST_WEEK + dt.timedelta(weeks=int(w) + 20) for w in launch]
    renamed = first.with_columns(pl.col("title") + " new", known_at=pl.Series(later))[::5]
    at = rng.integers(0, len(i), 60)
    reviews = sales[at].select("sku_id", "date", rating=pl.Series(rng.integers(1, 6, 60).astype(float)), text=pl.lit("fine thing"))
    plan_weeks = [FIRST_WEEK + dt.timedelta(weeks=int(w)) for w in range(weeks, weeks + 8)]
    sales = sales.with_columns(
        units=pl.when(pl.Series(rng.random(len(i)) < 0.003)).then(pl.col("units") + 500).otherwise("units"),
        page_views=pl.Series(rng.poisson(9, len(i)).astype(float)),
        ad_spend=pl.Series(np.round(rng.gamma(0.3, 2, len(i)), 2)),
        returns=pl.Series(rng.binomial(1, 0.05, len(i)).astype(float)),
    )
    plans = pl.DataFrame({"sku_id": np.repeat(names[:10], 8), "week": plan_weeks * 10, "price": 3.0, "promo": 0.1})
    products = pl.concat([first, renamed])
    colours = pl.Series([json.dumps({"colour": c, "size": int(k)}) for k, c in enumerate(rng.choice(["red", "blue"], len(products)))])
    products = products.with_columns(attributes=pl.when(pl.Series(rng.random(len(products)) < 0.8)).then(colours))
    reviews = reviews.with_columns(text=pl.format("{} no {}", "text", pl.int_range(pl.len())))
    tables = {"products": products, "sales": sales, "reviews": reviews, "plans": plans}
    bought = sales.select("sku_id", "date").with_columns(basket=pl.Series(rng.integers(0, len(sales) // 3, len(sales))))
    baskets = bought.select(
        pl.format("{}-{}", "date", pl.col("basket") % 9).alias("basket_id"), "sku_id", ts=pl.col("date").cast(pl.Datetime("us"))
    )
    return tables | {"baskets": baskets, "signals": signals_of(rng, weeks), "vectors": vectors_of(rng, names, launch)}


def signals_of(rng: np.random.Generator, weeks: int) -> pl.DataFrame:
    """Daily and weekly values of the whole shop, of categories and of SKUs, some known ahead, some put right later."""
    parts = []
    for key, name, step, lead in (
        ("*", "weather", 1, 3),
        ("*", "interest", 7, 0),
        ("Home > Light", "interest", 7, -9),
        ("Home", "interest", 7, 14),
        ("P003", "interest", 7, 5),
        ("P003", "press", 7, 0),
    ):
        date = pl.Series([FIRST_WEEK + dt.timedelta(days=int(d)) for d in range(0, (weeks + 6) * 7, step)])
        frame = pl.DataFrame({"date": date, "key": key, "name": name, "value": rng.normal(10, 3, len(date))})
        known = frame.with_columns(known_at=None if lead == 0 else pl.col("date") - pl.duration(days=lead)).cast({"known_at": pl.Date})
        revised = known[::5].with_columns(pl.col("value") + 1, known_at=pl.col("date") + pl.duration(days=20))
        parts += [known, revised]
    return pl.concat(parts)


def vectors_of(rng: np.random.Generator, names: np.ndarray, launch: np.ndarray, first_week: dt.date = FIRST_WEEK) -> pl.DataFrame:
    """Two kinds of different width; some products have none, some a later one."""
    rows = [(n, kind, rng.normal(size=width).tolist(), None) for n in names[::2] for kind, width in (("audio", 5), ("graph", 9))]
    later = [
        (n, "audio", rng.normal(size=5).tolist(), first_week + dt.timedelta(weeks=int(w) + 15)) for n, w in zip(names, launch, strict=True)
    ][::3]
    schema: dict[str, Any] = {"sku_id": pl.String, "kind": pl.String, "vector": pl.List(pl.Float32), "known_at": pl.Date}
    return pl.DataFrame(rows + later, schema=schema, orient="row")
