"""Numbers and names as the report and the terminal print them."""

from collections.abc import Mapping

KINDS = {
    "reorder": "Reorder",
    "last_buy": "Last order",
    "markdown": "Mark down",
    "promote": "Promote",
    "price_up": "Raise price",
    "price_down": "Lower price",
    "risk_stockout": "Stock-out risk",
    "risk_overstock": "Overstock",
    "risk_dead_stock": "Dead stock",
    "risk_early_decline": "Early decline",
    "substitute": "Substitutes",
}
EVENTS = {"peak": "Peak", "decline": "Decline", "end": "End"}


def count(value: float | None) -> str:
    """1,240; 7.5; 0.4; – for none."""
    if value is None:
        return "–"
    return f"{value:,.1f}".removesuffix(".0") if abs(value) < 10 else f"{value:,.0f}"


def money(value: float | None) -> str:
    """+1,240; −7.50; – for none."""
    if value is None:
        return "–"
    size = f"{abs(value):,.2f}" if abs(value) < 100 else f"{abs(value):,.0f}"
    return ("−" if value < 0 else "+" if value > 0 else "") + size


def percent(value: float) -> str:
    return f"{value:.0%}"


def amount(row: Mapping[str, object]) -> str:
    """The value of a decision in its unit."""
    value = row["value"]
    if not isinstance(value, int | float):
        return "–"
    match row["unit"]:
        case "probability":
            return percent(value)
        case "discount":
            return f"−{percent(value)}"
        case "cosine":
            return f"{value:.2f} alike"
        case unit:
            return f"{count(value)} {unit}"
