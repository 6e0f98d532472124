"""The public contract's snippet on workspaces, run as it is written there."""

from typing import Any

import pytest
from fastapi import APIRouter, Depends

from app_kernel import ServiceConfig, create_service, get_current_user
from app_kernel.db import db_connection
from app_kernel.testing import kernel_client
from tests.small_service import SECRET

SAAS = """
from app_kernel import require_workspace_member, create_saas_router

# Add SaaS routes (workspaces, members, invites)
app = create_service(
    name="my_saas",
    routers=[router, create_saas_router()],
    config=config,
)

# Protect routes by workspace membership
@router.get("/projects")
async def list_projects(
    workspace_id: str,
    user=Depends(get_current_user),
    _=Depends(require_workspace_member),
    db=Depends(db_connection),
):
    return await db.find_entities("projects", where_clause="[workspace_id] = ?", params=(workspace_id,))
"""


@pytest.mark.acceptance("AZ2")
async def test_the_contracts_snippet_on_workspaces_works_as_written() -> None:
    names: dict[str, Any] = {
        "create_service": create_service,
        "router": APIRouter(),
        "config": ServiceConfig(jwt_secret=SECRET, database_name="sqlite://:memory:"),
        "Depends": Depends,
        "get_current_user": get_current_user,
        "db_connection": db_connection,
    }
    # The route is added after the service was made, as it stands there.
    exec(SAAS, names)
    async with kernel_client(names["app"]) as client:
        ada, bob = await client.log_in_as("ada@example.com"), await client.log_in_as("bob@example.com")
        ids = {}
        for person in (ada, bob):
            made = await person.post("/workspaces", json={"name": "Engines"})
            ids[person] = made.json()["id"]
            await client.db.save_entity("projects", {"workspace_id": ids[person], "name": person.user.email})
        for person, other in ((ada, bob), (bob, ada)):
            [project] = (await person.get("/projects", params={"workspace_id": ids[person]})).json()
            assert project["name"] == person.user.email
            assert (await person.get("/projects", params={"workspace_id": ids[other]})).status_code == 404
        assert (await client.get("/projects", params={"workspace_id": ids[ada]})).status_code == 401
        assert (await ada.get("/projects")).status_code == 400
