"""Events of a request: held to the contract's rules, and brought into the store's form."""

import datetime as dt
from typing import Any

import polars as pl

from plcp.data.checks import row_checks
from plcp.data.timeline import monday
from plcp.serving.observations import EVENT
from plcp.serving.problems import FieldError, ProblemError, invalid
from plcp.serving.schemas import ObserveRequest
from plcp.serving.store import Catalogue
from plcp.tables import SALES

MAX_AHEAD = dt.timedelta(weeks=52)  # beyond the data: so old a run is no base to add weeks to


def events_of(request: ObserveRequest, catalogue: Catalogue, today: dt.date) -> pl.DataFrame:
    """The request's events, one row each (columns of EVENT).

    Raises ProblemError: 422 naming each field that breaks a rule of the contract or a date that cannot be, 404 naming unknown SKUs.
    """
    given: list[Any] = request.observations
    events = pl.DataFrame([row.model_dump() for row in given], schema=EVENT)
    faults = [*broken(events, today), *too_far(events, catalogue.prepared.origin), *untimely(request.complete_until, today)]
    if faults:
        raise invalid(faults)
    try:
        catalogue.places(events["sku_id"].unique(maintain_order=True).to_list())
    except ProblemError as error:
        unknown = error.details
        raise ProblemError(404, f"{unknown.detail}; a product enters the catalog with a weekly run", sku_ids=unknown.sku_ids) from None
    return events


def broken(events: pl.DataFrame, today: dt.date) -> list[FieldError]:
    """What the contract would not take as rows of sales."""
    found = []
    for check in row_checks(SALES, events.schema, today):
        rows = events.select(pl.arg_where(check.bad), check.reason.alias("reason").filter(check.bad)).rows() if len(events) else []
        found += [FieldError(field=f"observations[{row}].{check.field}", message=reason) for row, reason in rows]
    return found


def too_far(events: pl.DataFrame, origin: dt.date) -> list[FieldError]:
    late = events.with_row_index("row").filter(pl.col("date") >= origin + MAX_AHEAD)
    reason = f"a year or more after the last weekly run, which forecasts from {origin}; make a new one first"
    return [FieldError(field=f"observations[{row}].date", message=reason) for row in late["row"]]


def untimely(complete_until: dt.date | None, today: dt.date) -> list[FieldError]:
    if complete_until is None:
        return []
    if complete_until.weekday():
        return [
            FieldError(
                field="complete_until", message=f"{complete_until} is a {complete_until:%A}; give the Monday after the last week told"
            )
        ]
    if complete_until > monday(today):
        return [FieldError(field="complete_until", message=f"the week before {complete_until} is not over (today is {today})")]
    return []
