"""The shape of a case: how far it looks back and ahead, and which of the shop's data it reads."""

from typing import Self

from pydantic import Field, field_validator

from plcp.base import Config
from plcp.data.prepared import Prepared

CORE = ("units", "price", "promo", "in_stock")  # what every case has, known or not
RECORDED = {name: name for name in ("page_views", "ad_spend", "returns", "lines", "largest", "reviews")} | {"rating": "reviews"}
DERIVED = {"outlier": "units", "discount": "price", "price_to_category": "category_prices", "bought_with": "neighbours"}
NEEDS = {**RECORDED, **DERIVED}  # what the data must hold for each channel beyond the core
CHANNELS = (*CORE, *NEEDS)
FUTURE = ("price", "promo")  # planned


class Spec(Config):
    """The shape of a case. What is not given is settled by the data a model learns from (`fitted`): what a shop lacks costs nothing."""

    history_weeks: int = Field(104, ge=13, le=520, description="weeks of history a case reads")
    horizon: int = Field(26, ge=1, le=52, description="weeks forecast")
    country: str | None = Field(None, description="ISO code whose public holidays count")
    channels: tuple[str, ...] | None = Field(None, description="weekly channels read; if not given, all that the data holds")

    signals: tuple[str, ...] | None = Field(None, description="names of signals read; if not given, all that the data holds")
    attributes: bool | None = Field(None, description="read products.attributes; if not given, where the data holds any")
    vectors: bool | None = Field(None, description="read the table vectors; if not given, where the data holds any")
    siblings: bool = Field(True, description="read what products of the same kind sold at each age")

    @field_validator("channels")
    @classmethod
    def _known(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (names[: len(CORE)] != CORE or len({*names}) < len(names) or not {*names} <= {*CHANNELS}):
            raise ValueError(f"channels {', '.join(names)}: the first are {', '.join(CORE)}, others may be {', '.join(NEEDS)}")
        return names

    def fitted(self, prepared: Prepared) -> Self:
        """The spec with everything settled that this data decides."""
        held = {*CORE, *(name for name, need in NEEDS.items() if need in prepared.holds)}
        settled = {
            "channels": self.channels or tuple(name for name in CHANNELS if name in held),
            "signals": prepared.signals if self.signals is None else self.signals,
            "attributes": "attributes" in prepared.holds if self.attributes is None else self.attributes,
            "vectors": "vectors" in prepared.holds if self.vectors is None else self.vectors,
        }
        return self.model_copy(update=settled)

    @property
    def history(self) -> tuple[str, ...]:
        """Names of the channels of `history`, in order."""
        return (*(self.channels or CHANNELS), *self._signals)

    @property
    def future(self) -> tuple[str, ...]:
        """Names of what is planned or forecast of the weeks to come, in order."""
        return (*FUTURE, *self._signals)

    @property
    def _signals(self) -> tuple[str, ...]:
        """Under names that no channel has: a shop may call a signal "price"."""
        return tuple(f"signal:{name}" for name in self.signals or ())
