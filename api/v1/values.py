"""What values of a request must be so that they can be kept: times that exist, texts that say something."""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from api.errors import FieldProblem, Problem
from callcenter import clock
from callcenter.city.coordinates import DATUMS, GCJ02, WGS84, from_gcj02

EARLIEST_YEAR: Final = 1900
LATEST_YEAR: Final = 2199
"""Outside of these a time is a slip or an attack: near the ends of the calendar it has no UTC at all."""


def _known(moment: datetime) -> datetime:
    if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
        raise ValueError(f"must be between the years {EARLIEST_YEAR} and {LATEST_YEAR}")
    return moment.astimezone(UTC)


def says_something(text: str) -> str:
    """``text`` if there is anything in it to see. Raises ValueError for blanks and invisible signs alone."""
    # Cf: zero-width spaces, marks of direction; Cc: control characters. Neither is a word.
    if not any(not one.isspace() and unicodedata.category(one) not in ("Cf", "Cc") for one in text):
        raise ValueError("must have something to read in it")
    return text


Moment = Annotated[AwareDatetime, AfterValidator(_known)]
"""A time sent with its offset, of a year that a case can be of; as UTC."""

Words = AfterValidator(says_something)
"""Of a text that must say something, beside its lengths."""


def storable(value: Any) -> bool:
    """Whether the store can keep every text in ``value`` (JSON): PostgreSQL has no NUL, UTF-8 no half of a pair."""
    left = [value]
    while left:  # not by recursion: how deep it is, the sender decides
        one = left.pop()
        if isinstance(one, str):
            if "\0" in one or (not one.isascii() and any("\ud800" <= sign <= "\udfff" for sign in one)):
                return False
        elif isinstance(one, dict):
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            left += one
    return True


class Body(BaseModel):
    """A request's body: a misspelt field is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _can_be_kept(cls, value: Any) -> Any:
        if not storable(value):
            raise ValueError("must hold neither U+0000 nor halves of surrogate pairs")
        return value


class Place(Body):
    """A body that may say where something is: both of ``lat`` and ``lon``, or neither."""

    lat: float | None = Field(None, ge=-90, le=90, description="in `datum`; with `lon`", examples=[31.03])
    lon: float | None = Field(None, ge=-180, le=180, description="in `datum`; with `lat`", examples=[112.2])
    datum: Literal[DATUMS] = Field(  # type: ignore[valid-type]
        WGS84, description="of lat and lon; gcj02, what maps and telephones in China show, is converted"
    )

    @model_validator(mode="after")
    def _in_wgs84(self) -> Self:
        if (self.lat is None) != (self.lon is None):
            raise ValueError("lat and lon come together")
        if self.lat is not None and self.lon is not None and self.datum == GCJ02:
            given = self.model_fields_set
            self.lon, self.lat = from_gcj02(self.lon, self.lat)
            self.datum = WGS84
            self.__pydantic_fields_set__ = given
        return self


def not_ahead(moment: datetime | None, where: str, now: datetime | None = None) -> None:
    """Raises Problem 422 when ``moment``, the value at ``where``, has not come yet. ``now``: by default the present."""
    if moment is not None and moment > (now or clock.now()):
        raise Problem(
            422,
            "value_refused",
            f"{where} lies ahead: send when it was",
            errors=[FieldProblem(where=where, problem="lies ahead")],
        )
