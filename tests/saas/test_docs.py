"""docs/howto/workspaces.md: its code runs, and its figures and routes are those of the code."""

import re
from pathlib import Path
from typing import Any

from app_kernel import ServiceConfig
from app_kernel.core.workspaces import ROLES
from app_kernel.saas import invite_mail, invites, live, workspaces
from app_kernel.testing import kernel_client
from tests.saas.serving import serving

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "workspaces.md").read_text()
SERVICE, CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_service_of_the_page_works() -> None:
    names: dict[str, Any] = {}
    exec(SERVICE, names)
    exec(CODE, names)
    async with kernel_client(names["app"]) as client:
        ada, bob = await client.log_in_as("ada@example.com"), await client.log_in_as("bob@example.com")
        token, listed = await names["open_for"](client.db, ada.user.id, bob.user.id)
        assert token.startswith("wi_")
        assert listed == [("Analytical Engines", "owner")]
        [workspace] = (await ada.get("/workspaces")).json()
        inside = {"X-Workspace-ID": workspace["id"]}
        made = (await ada.post("/projects", json={"name": "Engine"}, headers=inside)).json()
        assert made["workspace_id"] == workspace["id"]
        assert [each["id"] for each in (await bob.get("/projects", headers=inside)).json()] == [made["id"]]
        charles = await client.log_in_as("charles@example.com")
        assert (await charles.get("/projects", headers=inside)).status_code == 404
        assert (await charles.post("/invites/accept", json={"token": token})).status_code == 200
        assert (await charles.delete(f"/projects/{made['id']}", headers=inside)).status_code == 403
        assert (await bob.delete(f"/projects/{made['id']}", headers=inside)).json() is True


async def test_the_figures_and_routes_of_the_page_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    for words in (
        f"at most {workspaces.MAX_MEMBERSHIPS} workspaces",
        f"at most {invites.MAX_OPEN} open invites",
        f"at most {invite_mail.MOST_BY_USER} in an hour",
        f"at most {invite_mail.MOST_TO_ADDRESS} in an hour",
        f"`invite_days` ({ServiceConfig.model_fields['invite_days'].default})",
        *(f"| `{role}` |" for role in ROLES),
    ):
        assert words in text, words
    assert live.REMEMBER == 1.0
    async with serving() as service:
        document = (await service.call("GET", "/openapi.json")).json()["paths"]
    ours = ("/workspaces", "/invites", "/auth/me/workspace")
    of_others = ("/workspaces/{workspace_id}/usage", "/workspaces/{workspace_id}/audit-logs")
    paths = [path for path in document if path.startswith(ours) and not path.startswith(of_others)]
    routes = [(method.upper(), path) for path in paths for method in document[path]]
    assert len(routes) == 20
    for method, path in routes:
        assert f"`{method} {path}`" in PAGE
