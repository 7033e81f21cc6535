"""Cases cut from a shard: what a model may know at an origin, and what came.

A case is (row, origin, start): the data is known up to the week before `origin`, the forecast begins at `start`
(the same week for a product in life; for a launch its first week, at or after the origin). All weeks are indices.
"""

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from plcp.data import calendar
from plcp.data.calendar import CALENDAR
from plcp.data.history import Window, cut_history
from plcp.data.lifecycle import Levels
from plcp.data.nested import expand
from plcp.data.shards import Shard, first_sale
from plcp.data.siblings import season_of
from plcp.data.signals import standardised
from plcp.data.spec import FUTURE, Spec

NUMERIC = ("list_price", "last_price", "rating", "reviews", "weeks_seen")
POOL = ("shop", "category", "season", "title", "recent", "alike")
HALF_A_YEAR = 26  # weeks: what was launched in this season and seen before them was launched in an earlier year

Arrays = dict[str, Any]


def inputs(shard: Shard, rows: np.ndarray, origins: np.ndarray, starts: np.ndarray, spec: Spec) -> Arrays:
    """Inputs of b cases: arrays by name (last axes: Spec.history and the constants above), texts and images with indices into them.

    history (b, weeks, channels), NaN where unknown, shut or not yet on sale; future (b, horizon, 2) as planned;
    calendar_history, calendar_future; age (b,) weeks since launch, NaN where not visible; numeric, hashed; pool (b, horizon, len(POOL))
    mean log1p units of siblings at the age of each week; due (b, horizon, len(DUE)) as Totals.due; text, image (b,) int64, -1 where
    missing.
    """
    units = shard.units_as_of(rows, origins)
    first = first_sale(units, origins)
    announced = np.isnan(first)
    version = shard.version_at(rows, origins, announced)
    launch = shard.launch(first, version)
    launch = np.where(np.isnan(launch) & announced, starts, launch)  # never sold yet: its life begins with the forecast
    # a product planned for later begins its life at the start of the forecast
    age = np.where(launch > starts, 0, starts - launch)
    statics = version_arrays(shard, version, spec)
    window = Window.of(shard, rows, origins, starts, launch, spec.history_weeks)
    signals = signal_arrays(shard, rows, version, origins, starts, spec)
    history = cut_history(shard, window, units, statics["pool"], signals, spec)
    arrays = {
        "history": history,
        "future": np.concatenate([planned(shard, rows, starts, spec), signals[:, spec.history_weeks :]], 2),
        **calendar_arrays(shard, origins, starts, spec),
        "age": age.astype(np.float32),
        "numeric": numeric(shard, rows, origins, statics["list_price"], history),
        "hashed": statics["hashed"],
        "pool": pooled(shard, statics, starts, age, origins, spec),
        "due": shard.shop.totals.due(statics["pool"], origins, starts, spec.horizon),
        **texts(shard, version, shard.review_at(rows, origins)),
        **images(shard, shard.photos_at(rows, origins, announced)),
    }
    return arrays | {"vector": shard.vector_at(rows, origins)} if spec.vectors else arrays


def planned(shard: Shard, rows: np.ndarray, starts: np.ndarray, spec: Spec) -> np.ndarray:
    """Planned price and promotion of the weeks forecast, (b, horizon, 2) float32; NaN where nothing is planned."""
    out = np.full((len(rows), spec.horizon, len(FUTURE)), np.nan, np.float32)
    plans = shard.plans
    if len(plans.row):
        entry, case = expand(plans.row, rows)
        step = shard.planned_week[entry] - starts[case]
        use = (step >= 0) & (step < spec.horizon)
        for k, name in enumerate(FUTURE):
            out[case[use], step[use], k] = shard.planned[name][entry[use]]
    return out


def calendar_arrays(shard: Shard, origins: np.ndarray, starts: np.ndarray, spec: Spec) -> Arrays:
    """calendar_history (b, history_weeks, K) and calendar_future (b, horizon, K); no week from the origin on is known to be shut."""
    line = shard.timeline
    before, after = spec.history_weeks, max(line.weeks, int(starts.max(initial=0))) + spec.horizon
    table = calendar.table(line.first_week, before, after, spec.country, line.closed)
    past, ahead = windows(table, starts, before), windows(table, starts + before, spec.horizon)
    known = starts[:, None] + np.arange(-before, 0) < origins[:, None]
    past[:, :, CALENDAR.index("closed")] *= known
    ahead[:, :, CALENDAR.index("closed")] = 0
    return {"calendar_history": past, "calendar_future": ahead}


def windows(table: np.ndarray, first: np.ndarray, rows: int) -> np.ndarray:
    """The `rows` rows of a table (n, K) from each of `first` (b,) on, (b, rows, K): copied whole, not gathered row by row."""
    width = table.shape[1]
    return sliding_window_view(table.reshape(-1), rows * width)[first * width].reshape(len(first), rows, width)


def version_arrays(shard: Shard, version: np.ndarray, spec: Spec) -> Arrays:
    """What a product's version says: list_price, pool (b,), hashed (b, places), words (b, TITLE_WORDS); unknown where there is none."""
    values = {"pool": shard.pool, "words": shard.words, "hashed": shard.hashed}
    if spec.attributes:
        values["hashed"] = np.concatenate([shard.hashed, shard.attributes], 1)
    known = {name: of_version(table, version, 0) for name, table in values.items()}
    return known | {"list_price": of_version(shard.list_price, version, np.nan)}


def of_version(table: np.ndarray, version: np.ndarray, unknown: float) -> np.ndarray:
    """Rows of a table of versions, `unknown` where the version is -1."""
    out = np.full((len(version), *table.shape[1:]), unknown, table.dtype)
    out[version >= 0] = table[version[version >= 0]]
    return out


def signal_arrays(shard: Shard, rows: np.ndarray, version: np.ndarray, origins: np.ndarray, starts: np.ndarray, spec: Spec) -> np.ndarray:
    """Signals of the weeks before and after each start as known at the origin, standardised, (b, history_weeks + horizon, names) float32.

    A product's own signal counts before its category's, that before those above it, and "*" last.
    """
    weeks = spec.history_weeks + spec.horizon
    if not spec.signals:
        return np.zeros((len(rows), weeks, 0), np.float32)
    own = bool(shard.signals.series)
    path = of_version(shard.paths, version, 0)
    # cases that see the same are computed once
    stride = int(max(starts.max(initial=0), origins.max(initial=0))) + 1
    code = (((rows if own else 0 * rows) * len(shard.path_keys[0]) + path) * stride + origins) * stride + starts
    _, first, inverse = np.unique(code, return_index=True, return_inverse=True)
    seen = np.stack([rows, path, origins, starts], 1)[first]
    origin, week = seen[:, 2], seen[:, 3:] + np.arange(-spec.history_weeks, spec.horizon)
    out = np.empty((len(seen), weeks, len(spec.signals)), np.float32)
    for k, name in enumerate(spec.signals):
        values = np.full(week.shape, np.nan, np.float32)
        if own:
            places = shard.signals.places([str(row) for row in range(len(shard))], name)
            values = shard.signals.as_of(places[seen[:, 0]], origin, week)
        for keys in shard.path_keys:
            places = shard.shop.signals.places(keys, name)[seen[:, 1]]
            if (places >= 0).any():
                values = np.where(np.isnan(values), shard.shop.signals.as_of(places, origin, week), values)
        out[:, :, k] = standardised(values, spec.history_weeks)
    return out[inverse]


def numeric(shard: Shard, rows: np.ndarray, origins: np.ndarray, list_price: np.ndarray, history: np.ndarray) -> np.ndarray:
    """(b, len(NUMERIC)) float32 of raw values, as of the last week before each origin (week indices from 1 on); NaN unknown."""
    unknown = np.full(len(rows), np.nan)
    last = np.clip(origins, 1, shard.timeline.weeks) - 1
    price = shard.price[rows, last] if "price" in shard.channels else unknown
    rating = shard.rating[rows, last] if "reviews" in shard.channels else unknown
    reviews = shard.reviews[rows, last] if "reviews" in shard.channels else np.zeros(len(rows))
    weeks = (~np.isnan(history[:, :, 0])).sum(1)
    return np.stack([list_price, np.where(np.isnan(price), list_price, price), rating, reviews, weeks], 1).astype(np.float32)


def pooled(shard: Shard, statics: Arrays, starts: np.ndarray, age: np.ndarray, origins: np.ndarray, spec: Spec) -> np.ndarray:
    """Mean log1p units of siblings (POOL) at the age of each week forecast, (b, horizon, len(POOL)); NaN where none was seen.

    `alike` is what products with words of the title in common sell now, at any age.
    """
    if not spec.siblings:
        return np.full((len(starts), spec.horizon, len(POOL)), np.nan, np.float32)
    ages, pool, pools = age[:, None] + np.arange(spec.horizon), statics["pool"], shard.shop.pools
    shop = pools.mean(np.zeros(len(ages), np.int64), ages, origins)
    own = np.where(pool[:, None] > 0, pools.mean(pool, ages, origins), np.nan)
    season = pools.mean(season_of(pool, starts - age, shard.timeline), ages, origins - HALF_A_YEAR)
    recent = pools.recent(ages, origins)
    title = shard.shop.titles.mean(statics["words"], ages, origins)
    alike = np.broadcast_to(shard.shop.levels.mean(statics["words"], origins)[:, None], ages.shape)
    return np.stack([shop, own, season, title, recent, alike], 2).astype(np.float32)


def texts(shard: Shard, version: np.ndarray, review: np.ndarray) -> Arrays:
    """The texts of the cases, each once, and the index of each case's: title, category, brand, description, last reviews.

    version (b,) and review (b,) index the shard's versions and latest_reviews, -1 where there is none.
    """
    reviewed = bool((review >= 0).any())
    reviews = shard.latest_reviews if reviewed else np.array([""], dtype=object)
    code = np.where(version >= 0, version * len(reviews) + review % len(reviews), -1)  # review -1: the last, empty one
    used, inverse = np.unique(code, return_inverse=True)
    there = used[used >= 0]
    joined = shard.described[there // len(reviews)] + reviews[there % len(reviews)]  # a tower cuts long texts, so reviews come last
    return {"texts": joined.tolist(), "text": (inverse - (len(used) - len(there))).astype(np.int64)}


def images(shard: Shard, at: np.ndarray) -> Arrays:
    """The first photo of each case, each once, and the index of each case's; -1 without any. at: (b,) indices into photos."""
    used, inverse = np.unique(at, return_inverse=True)
    photos = shard.photos.values[used[used >= 0]]["photos"].list.first().to_list() if len(used) and used[-1] >= 0 else []
    return {"images": photos, "image": (inverse - int(len(used) > 0 and used[0] < 0)).astype(np.int64)}


def targets(shard: Shard, levels: Levels, rows: np.ndarray, starts: np.ndarray, spec: Spec) -> Arrays:
    """What came of b cases, as known after the weeks in `levels`, which holds those of the shard's rows.

    units (b, horizon), NaN where unobserved or shut; censored (b, horizon), demand was at least the units sold;
    event_time, event_seen (b, 3) for peak, decline and end; stage (b,), -1 unknown; new_peak (b,), NaN unknown.
    """
    week = starts[:, None] + np.arange(spec.horizon)
    seen = (week < levels.units.shape[1]) & ~np.isin(week, shard.timeline.closed)
    at = np.clip(week, 0, shard.timeline.weeks - 1)
    units = np.where(seen, shard.units[rows[:, None], at], np.nan).astype(np.float32)
    stock = shard.channels.get("in_stock")
    censored = seen & (stock[rows[:, None], at] < 1) if stock is not None else np.zeros_like(seen)
    time, known = levels.event_times(rows, starts)
    return {
        "units": units,
        "censored": censored,
        "event_time": time.astype(np.float32),
        "event_seen": known,
        "stage": levels.stage(rows, starts),
        "new_peak": levels.new_peak(rows, starts),
    }
