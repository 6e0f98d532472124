"""A sign-in that begins in one process may end in another one, and outlives a restart; nothing is kept in memory."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conformance.backends import Place
from tests.live_server import live_server
from tests.oauth.serving import PAGE, SECRET, StubProvider, query_of
from tests.redis_beside import redis_beside

APP = 'from app_kernel import create_service\n\napp = create_service("oauth_processes")\n'


class Person:
    """A browser that reaches several processes as one service, as through a load balancer."""

    def __init__(self) -> None:
        self.http = httpx2.Client(trust_env=False, verify=False)

    def start(self, base: str) -> str:
        answer = self.http.get(f"{base}/auth/oauth/stub")
        assert answer.status_code == 303, answer.text
        there = httpx2.get(answer.headers["location"], trust_env=False, verify=False)
        return str(there.headers["location"])

    def come_back(self, base: str, url: str) -> httpx2.Response:
        parts = urlsplit(url)
        assert url.startswith("http://127.0.0.1/auth/oauth/stub/callback")
        return self.http.get(f"{base}{parts.path}?{parts.query}")

    def exchange(self, base: str, returned: httpx2.Response) -> httpx2.Response:
        return self.http.post(f"{base}/auth/oauth/exchange", json={"code": query_of(returned)["code"]})


@pytest.fixture
def person() -> Iterator[Person]:
    somebody = Person()
    yield somebody
    somebody.http.close()


@pytest.mark.acceptance("OA3")
def test_any_process_ends_what_another_one_began_and_a_restart_forgets_nothing(
    provider: StubProvider, place: Place, tmp_path: Path, person: Person
) -> None:
    provider.behave()
    (tmp_path / "main.py").write_text(APP)
    environment = {
        "DATABASE_URL": place.url,
        "JWT_SECRET": SECRET,
        "PUBLIC_URL": "http://127.0.0.1",
        "OAUTH_PROVIDERS": json.dumps(provider.settings()),
        "OAUTH_REDIRECT_URLS": PAGE,
        "ALLOW_SELF_SIGNUP": "true",
        **{name.upper(): url for name, url in redis_beside(place.url).items()},
    }
    with ExitStack() as stack:
        first = stack.enter_context(live_server(tmp_path, **environment))
        second = stack.enter_context(live_server(tmp_path, **environment))
        url = person.start(first.url)
        kept = dict(person.http.cookies)
        returned = person.come_back(second.url, url)
        assert returned.status_code == 303, returned.text
        answer = person.exchange(first.url, returned)
        assert answer.status_code == 200, answer.text
        assert person.exchange(second.url, returned).status_code == 400
        person.http.cookies.update(kept)
        for base in (first.url, second.url):
            assert person.come_back(base, url).status_code == 400
        late = person.start(first.url)
        first.stop()
        third = stack.enter_context(live_server(tmp_path, **environment))
        back = person.come_back(third.url, late)
        assert person.exchange(second.url, back).json()["user"] == answer.json()["user"]
        stranger = Person()
        assert stranger.come_back(third.url, person.start(third.url)).status_code == 400
        stranger.http.close()
        for server in (second, third):
            server.stop()
        printed = "".join([*second.printed, *third.printed])
        for secret in (query_of(returned)["code"], answer.json()["refresh_token"], *re.findall(r"state=([\w-]+)", url)):
            assert secret not in printed
