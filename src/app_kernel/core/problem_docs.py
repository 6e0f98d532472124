"""How routes document their error answers in OpenAPI."""

from typing import Any


def problem(*descriptions: str) -> dict[str, Any]:
    """The documentation of an error answer (RFC 9457), for `responses=`."""
    return {
        "description": " ".join(descriptions),
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/KernelProblem"}}},
    }
