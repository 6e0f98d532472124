"""What the route of request figures answers."""

from pydantic import BaseModel, Field


class RouteStats(BaseModel):
    """The requests of one method and route template."""

    method: str
    route: str = Field(description="The route's template; `(unmatched)` of requests that no route matched.")
    count: int
    errors: int = Field(description="Answered with 500 and above.")
    client_errors: int = Field(description="Answered with 400 to 499.")
    error_rate: float = Field(description="`errors` by `count`.")
    mean_ms: float
    p50_ms: float = Field(description="Half of the requests were not slower; at most 5 % off, as p95 and p99 are.")
    p95_ms: float
    p99_ms: float
    slowest_ms: float
    slowest_request_id: str | None
    slowest_trace_id: str | None
    slowest_at: str | None
