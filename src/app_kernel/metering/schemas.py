"""What the routes of metering give."""

from typing import Annotated

from pydantic import BaseModel, Field

Period = Annotated[str, Field(description="A year, a month or a day of UTC.", examples=["2025-01"])]


class UsageAnswer(BaseModel):
    """What was used in a period."""

    period: Period
    usage: dict[str, int] = Field(description="By metric.", examples=[{"requests": 4521, "tokens": 125000}])


class EndpointUsage(BaseModel):
    """A part of what was used."""

    endpoint: str = Field(examples=["GET /widgets/{id}"])
    amount: int


class DayUsage(BaseModel):
    """What was used on one day."""

    day: str = Field(examples=["2025-01-15"])
    amount: int


class EndpointsAnswer(BaseModel):
    """What was used of one metric at each endpoint, the most first."""

    period: Period
    metric: str
    endpoints: list[EndpointUsage]


class DaysAnswer(BaseModel):
    """What was used of one metric on each day that has any."""

    period: Period
    metric: str
    days: list[DayUsage]
