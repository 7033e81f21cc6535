"""The steps of `plcp prepare` as a good pandas user would write them: the peer that it is measured against.

Whole columns at a time, Arrow for reading and writing, SKUs as categories, grouped sums in pandas' own C code; no Python loop over rows or
SKUs. Sales and products are read, which is what the measured shop consists of.
"""

import json
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

EPOCH, EARLIEST = pd.Timestamp("1970-01-05"), pd.Timestamp("1980-01-01")  # a Monday; before the other lie only defaults
MAX_NUMBER, MAX_REVENUE, MAX_ID, MAX_BAD_SHARE = 1e9, 1e12, 256, 0.01
SUMMED, AVERAGED = ("page_views", "ad_spend", "returns"), ("promo", "in_stock")
SHARES = ("promo", "in_stock")
LAUNCH_SEEN, AGES = 8, 52
Rules = Iterator[tuple[str, pd.Series]]  # a reason, and the rows that it holds for


def prepare(data: Path, out: Path, skus_per_shard: int = 4096) -> None:
    """Read, check, add up by week, take back what was cancelled, find launches, pool siblings, write parts of whole SKUs."""
    out.mkdir(parents=True)
    sales = checked(read(data / "sales"), sales_rules, out / "quarantine-sales.parquet")
    products = checked(read(data / "products"), product_rules, out / "quarantine-products.parquet")
    products = products.drop_duplicates("sku_id", keep="last")
    report = relations(sales, products)
    sales["week"] = (sales["date"] - EPOCH).dt.days // 7
    first_week, weeks = observed_weeks(sales)
    sales["week"] -= first_week
    sales = sales[sales["week"].between(0, weeks - 1)]
    late = late_cancellations(sales, first_week)
    skus = np.union1d(products["sku_id"].astype(str), sales["sku_id"].cat.categories.to_numpy(str))
    channels = dense(weekly(sales), skus, weeks)
    products = products.assign(sku_id=products["sku_id"].astype(str)).set_index("sku_id").reindex(skus)
    told = (channels["units"].sum(0) > 0) & ~(channels["in_stock"] < 1) if "in_stock" in channels else channels["units"].sum(0) > 0
    pools(channels["units"], np.broadcast_to(told, channels["units"].shape), late, products, skus, first_week).to_parquet(
        out / "pools.parquet"
    )
    write_parts(channels, late, products, skus, out, skus_per_shard)
    closed = np.flatnonzero(channels["units"].sum(0) == 0).tolist()
    first = (EPOCH + pd.Timedelta(weeks=first_week)).date().isoformat()
    (out / "manifest.json").write_text(json.dumps({"first_week": first, "weeks": weeks, "closed": closed, **report}))


def read(folder: Path) -> pd.DataFrame:
    """All files of a table; SKUs as categories, dates as numpy's."""
    table = pq.read_table(folder, read_dictionary=["sku_id"])
    return table.to_pandas(date_as_object=False, split_blocks=True, self_destruct=True)


def checked(frame: pd.DataFrame, rules: Callable[[pd.DataFrame], Rules], quarantine: Path) -> pd.DataFrame:
    """The rows that break no rule; the others are written aside with the first rule each breaks."""
    reason = pd.Series(pd.NA, frame.index, dtype="string")
    for name, broken in rules(frame):
        if broken.any():
            reason = reason.mask(broken & reason.isna(), name)
    bad = reason.notna()
    if not bad.any():
        return frame
    if bad.mean() > MAX_BAD_SHARE:
        raise ValueError(f"{bad.mean():.1%} of the rows are bad: {reason.value_counts().to_dict()}")
    frame[bad].assign(reason=reason[bad]).to_parquet(quarantine)
    return frame[~bad]


def id_rules(frame: pd.DataFrame) -> Rules:
    """Tried on the categories, which are far fewer than the rows."""
    names = frame["sku_id"].cat.categories.to_series()
    faults = {
        "sku_id is blank": names.str.strip() == "",
        "sku_id is too long": names.str.encode("utf-8").str.len() > MAX_ID,
        "sku_id has control characters": names.str.contains(r"[\x00-\x1f\x7f]"),
    }
    yield "sku_id is missing", frame["sku_id"].isna()
    for reason, bad in faults.items():
        yield reason, frame["sku_id"].isin(names[bad]) if bad.any() else pd.Series(False, frame.index)


def number_rules(frame: pd.DataFrame, names: tuple[str, ...]) -> Rules:
    for name in names:
        if name in frame:
            value = frame[name]
            yield f"{name} is not finite", pd.Series(np.isinf(value.to_numpy()), frame.index)
            yield f"{name} is below 0", value < 0
            yield f"{name} is too high", value > (1 if name in SHARES else MAX_NUMBER)


def sales_rules(frame: pd.DataFrame) -> Rules:
    yield from id_rules(frame)
    today = pd.Timestamp(date.today())
    yield "date is missing", frame["date"].isna()
    for name in ("date", "cancelled_at"):
        if name in frame:
            yield f"{name} is too early", frame[name] < EARLIEST
            yield f"{name} is in the future", frame[name] > today
    yield "units is missing", frame["units"].isna()
    yield from number_rules(frame, ("units", "price", *AVERAGED, *SUMMED))
    if "price" in frame:
        yield "revenue is too high", frame["price"] * frame["units"] > MAX_REVENUE


def product_rules(frame: pd.DataFrame) -> Rules:
    yield from id_rules(frame)
    yield "title is missing", frame["title"].isna() | (frame["title"].str.strip() == "")
    yield from number_rules(frame, ("list_price",))


def relations(sales: pd.DataFrame, products: pd.DataFrame) -> dict[str, int]:
    """Sold SKUs without a product, ids that differ in form alone, launches after the first sale."""
    known = pd.Index(products["sku_id"].astype(str))
    sold = sales["sku_id"].cat.categories
    folded = known.union(sold).str.normalize("NFKC").str.lower().str.strip()
    report = {"unknown_products": len(sold.difference(known)), "look_alikes": int(folded.duplicated().sum())}
    if "launch_date" in products:
        first = sales[sales["units"] > 0].groupby("sku_id", observed=True)["date"].min()
        launches = products.assign(sku_id=products["sku_id"].astype(str)).set_index("sku_id")["launch_date"]
        report["late_launches"] = int((launches > first.reindex(launches.index)).sum())
    return report


def observed_weeks(sales: pd.DataFrame) -> tuple[int, int]:
    """Number of the first week with a sale, and how many there are to the last full one."""
    days = pd.Series(sales.loc[sales["units"] > 0, "date"].unique())
    week = (days - EPOCH).dt.days // 7
    last_day = days.dt.dayofweek.groupby(week).max()
    end = last_day.index[-1] if last_day.iloc[-1] >= int(last_day.median()) else last_day.index[-2]
    return int(week.min()), int(end - week.min() + 1)


def weekly(sales: pd.DataFrame) -> pd.DataFrame:
    """Per SKU and week: net units, mean price paid per unit (or asked, where nothing was sold), sums and means of the rest."""
    units = sales["units"]
    standing = units.where(sales["cancelled_at"].isna(), 0) if "cancelled_at" in sales else units
    cells = {"units": standing}
    if "price" in sales:
        price = sales["price"]
        priced = price.notna()
        cells |= {"paid": price * units, "bought": units.where(priced, 0), "asked": price, "priced": priced.astype(np.int64)}
    for name in [c for c in AVERAGED if c in sales]:
        cells |= {name: sales[name], f"{name}_rows": sales[name].notna().astype(np.int64)}
    cells |= {name: sales[name] for name in SUMMED if name in sales}
    frame = pd.DataFrame({"sku_id": sales["sku_id"], "week": sales["week"], **cells})
    total = frame.groupby(["sku_id", "week"], observed=True, sort=False).sum(min_count=1)
    if "price" in sales:
        total["price"] = (total["paid"] / total["bought"]).where(total["bought"] > 0, total["asked"] / total["priced"])
    for name in [c for c in AVERAGED if c in sales]:
        total[name] /= total[f"{name}_rows"]
    return total[[c for c in ("units", "price", *AVERAGED, *SUMMED) if c in total]].reset_index()


def dense(cells: pd.DataFrame, skus: np.ndarray, weeks: int) -> dict[str, np.ndarray]:
    """Every channel as an array (skus, weeks); units are 0 where there is no row, the rest unknown."""
    place = (
        np.searchsorted(skus, cells["sku_id"].cat.categories.to_numpy(str))[cells["sku_id"].cat.codes] * weeks + cells["week"].to_numpy()
    )
    channels = {}
    for name in cells.columns.drop(["sku_id", "week"]):
        flat = np.full(len(skus) * weeks, 0 if name == "units" else np.nan, np.float64 if name == "units" else np.float32)
        flat[place] = cells[name].to_numpy()
        channels[name] = flat.reshape(len(skus), weeks)
    return channels


def late_cancellations(sales: pd.DataFrame, first_week: int) -> pd.DataFrame:
    """Units taken back in a later week than they were sold: sku_id, sold, known, units."""
    if "cancelled_at" not in sales:
        return pd.DataFrame({"sku_id": np.array([], str), "sold": np.array([], int), "known": np.array([], int), "units": np.array([])})
    back = sales.loc[sales["cancelled_at"].notna(), ["sku_id", "week", "cancelled_at", "units"]]
    known = (back["cancelled_at"] - EPOCH).dt.days // 7 - first_week
    back = back.assign(sku_id=back["sku_id"].astype(str), sold=back["week"], known=known)[known > back["week"]]
    return back.groupby(["sku_id", "sold", "known"], as_index=False)["units"].sum()


def pools(
    units: np.ndarray, told: np.ndarray, late: pd.DataFrame, products: pd.DataFrame, skus: np.ndarray, first_week: int
) -> pd.DataFrame:
    """Sums of log1p units and counts of products by category, age and week, as first known; the empty category is the whole shop.

    `told`: the weeks whose units are the demand.
    """
    units = units.copy()
    np.add.at(units, (np.searchsorted(skus, late["sku_id"].to_numpy(str)), late["sold"].to_numpy()), late["units"].to_numpy())
    sold = units > 0
    first = np.where(sold.any(1), sold.argmax(1), np.nan)
    launch = np.where(first < LAUNCH_SEEN, np.nan, first)
    if "launch_date" in products:
        given = (products["launch_date"] - EPOCH).dt.days.to_numpy() // 7 - first_week
        launch = np.where(np.isnan(given), launch, np.fmin(given, first))
    row = np.flatnonzero(launch >= 0)
    week = launch[row].astype(int)[:, None] + np.arange(AGES)
    case, age = np.nonzero(week < units.shape[1])
    at = week[case, age]
    category = products["category"].str.split(" > ").str[0].to_numpy()[row[case]] if "category" in products else ""
    cells = pd.DataFrame({"category": category, "age": age, "week": at, "value": np.log1p(units[row[case], at])})
    cells = cells[told[row[case], at]]
    both = pd.concat([cells, cells.assign(category="")])
    return both.groupby(["category", "age", "week"])["value"].agg(["sum", "count"]).reset_index()


def write_parts(
    channels: dict[str, np.ndarray], late: pd.DataFrame, products: pd.DataFrame, skus: np.ndarray, out: Path, skus_per_shard: int
) -> None:
    """A file per part: one row per SKU with its weeks as lists and its product's columns; late cancellations beside it."""
    (out / "shards").mkdir()
    (out / "cancelled").mkdir()
    part_of_late = np.searchsorted(skus, late["sku_id"].to_numpy(str)) // skus_per_shard
    for part, start in enumerate(range(0, len(skus), skus_per_shard)):
        rows = slice(start, start + skus_per_shard)
        own = pa.Table.from_pandas(products.iloc[rows].reset_index(), preserve_index=False)
        for name, values in channels.items():
            own = own.append_column(name, pa.FixedSizeListArray.from_arrays(values[rows].ravel(), values.shape[1]))
        pq.write_table(own, out / "shards" / f"part-{part:05d}.parquet", compression="zstd", compression_level=1)
        late[part_of_late == part].to_parquet(out / "cancelled" / f"part-{part:05d}.parquet")
