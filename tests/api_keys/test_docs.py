"""docs/howto/api-keys.md: its code runs, and its figures are those of the code."""

import re
from pathlib import Path

from app_kernel.api_keys import keys, live, store, wrong_keys
from app_kernel.api_keys.key_text import make_key
from app_kernel.testing import kernel_client
from tests.api_keys.serving import serving

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "api-keys.md").read_text()
SERVICE, CODE, SCANNER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_service_of_the_page_works():
    names = {}
    exec(SERVICE, names)
    exec(CODE, names)
    async with kernel_client(names["app"]) as client:
        ada = await client.log_in_as("ada@example.com")
        key = await names["give_the_pipeline_a_key"](client.db, ada.user.id)
        headers = {"X-API-Key": key["key"]}
        said = (await client.get("/whoami", headers=headers)).json()
        assert said == {"type": "api_key", "user": ada.user.id, "may_deploy": True}
        made = (await client.post("/deployments", headers=headers)).json()
        assert made["created_by"] == ada.user.id
        newer, listed = await names["rotate_and_clean_up"](client.db, key)
        assert listed == ["CI/CD Pipeline"] * 2
        assert (await client.get("/whoami", headers=headers)).status_code == 401
        assert (await client.get("/whoami", headers={"X-API-Key": newer["key"]})).status_code == 200


def test_the_scanner_of_the_page_finds_keys_and_nothing_else():
    names = {}
    exec(SCANNER, names)
    key = make_key()
    stripes = "sk_live_" + "4eC39HqLyjWDarjtT1zdp7dc" * 2 + "ab"
    assert names["find_keys"](f"a={key}\nb={stripes}\nc={key[:-1]}") == [key]


async def test_the_figures_of_the_page_are_those_of_the_code():
    text = " ".join(PAGE.split())
    for words in (
        f"at most {keys.MAX_LIVE} live keys",
        f"(1 to {keys.MAX_DAYS})",
        f"0 to {keys.MAX_OVERLAP_HOURS})",
        f"listed for {store.KEEP_ENDED.days} days",
        f"more than {store.KEEP} keys",
        f"{wrong_keys.LIMIT} wrong keys in {wrong_keys.WINDOW} seconds",
    ):
        assert words in text, words
    assert live.REMEMBER == 1.0
    async with serving("sqlite://:memory:") as service:
        document = (await service.call("GET", "/openapi.json")).json()["paths"]
    routes = [(method.upper(), path) for path in document if path.startswith("/api-keys") for method in document[path]]
    assert len(routes) == 7
    for method, path in routes:
        assert f"{method} {path}" in PAGE
