"""What the routes of metering give."""

from typing import Annotated

from pydantic import BaseModel, Field

from app_kernel.core.model_docs import example

Period = Annotated[str, Field(description="A year, a month or a day of UTC.", examples=["2025-01"])]


class UsageAnswer(BaseModel):
    """What was used in a period."""

    model_config = example(period="2026-01", usage={"requests": 4521, "tokens": 125000})

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

    model_config = example(
        period="2026-01", metric="requests", endpoints=[{"endpoint": "GET /widgets/{id}", "amount": 4521}]
    )

    period: Period
    metric: str
    endpoints: list[EndpointUsage]


class DaysAnswer(BaseModel):
    """What was used of one metric on each day that has any."""

    model_config = example(period="2026-01", metric="requests", days=[{"day": "2026-01-31", "amount": 4521}])

    period: Period
    metric: str
    days: list[DayUsage]
