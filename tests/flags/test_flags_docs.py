"""docs/howto/feature-flags.md: its code runs, and its figures are those of the code."""

import re
from pathlib import Path

from app_kernel.flags import flags, live, values
from app_kernel.flags.routes import MAX_CHECKED, router
from app_kernel.testing import kernel_client

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "feature-flags.md").read_text()
SERVICE, CODE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_service_of_the_page_works():
    names = {}
    exec(SERVICE, names)
    exec(CODE, names)
    async with kernel_client(names["app"]) as client:
        ada, bob = await client.log_in_as("ada@example.com"), await client.log_in_as("bob@example.com")
        assert (await ada.get("/dashboard")).json() == {"dashboard": "old"}
        assert await names["roll_out"](client.db, ada.user.id) == "user_listed"
        assert (await ada.get("/dashboard")).json() == {"dashboard": "new"}
        assert (await bob.get("/dashboard")).status_code == 200
        await names["clean_up"](client.db)
        assert (await ada.get("/dashboard")).json() == {"dashboard": "new"}, "a flag in use is kept"


def test_the_figures_of_the_page_are_those_of_the_code():
    text = " ".join(PAGE.split())
    for words in (
        f"Names are 1 to {values.MAX_NAME} letters",
        f"at most {values.MAX_LISTED} users and {values.MAX_LISTED} workspaces",
        f"at most {flags.MAX_FLAGS} flags",
        f"at most {MAX_CHECKED} names",
        f"`description` (at most {values.MAX_DESCRIPTION} characters)",
    ):
        assert words in text, words
    assert live.WAIT_AFTER < live.PATIENCE == 1.0
    assert live.READ_ALL == 60
    for route in router.routes:
        for method in route.methods:
            assert f"{method} {route.path}" in PAGE
