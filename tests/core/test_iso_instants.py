"""Instants in requests are text: a number is refused rather than taken for seconds since 1970."""

from datetime import UTC, datetime
from typing import Annotated

import pytest
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from app_kernel.core.iso_instants import ISO_ONLY
from app_kernel.testing import kernel_client
from tests.small_service import small_app

instant = TypeAdapter(Annotated[AwareDatetime | None, ISO_ONLY])


def test_text_of_an_instant_is_read() -> None:
    noon = datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert instant.validate_python("2026-01-31T13:00:00+01:00") == noon
    assert instant.validate_python(noon) == noon
    assert instant.validate_python(None) is None


@pytest.mark.parametrize("value", [0, 0.5, "0.5", "1769860800", "", True, [], "noon", "2026-13-45T00:00:00Z"])
def test_anything_else_is_refused(value: object) -> None:
    with pytest.raises(ValidationError):
        instant.validate_python(value)


async def test_the_routes_that_take_an_instant_refuse_a_number() -> None:
    async with kernel_client(small_app(saas_enabled=True)) as client:
        admin = await client.log_in_as("root@example.com", role="admin")
        for path in ("/admin/stats?since=0.5", "/admin/stats?until=0.5", "/admin/traces?since=0.5"):
            assert (await admin.get(path)).status_code == 422, path
            assert (await admin.get(path.replace("0.5", "2026-01-31T12:00:00Z"))).status_code == 200, path
        answer = await admin.post("/admin/webhooks", json={"url": "https://example.com/h", "events": ["*"]})
        replay = f"/admin/webhooks/{answer.json()['id']}/replay"
        assert (await admin.post(replay, json={"since": 0})).status_code == 422
        assert (await admin.post(replay, json={"since": "2026-01-31T12:00:00Z"})).status_code == 200
