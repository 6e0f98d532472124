"""The whole way in a real browser: a page, the service and the provider on three origins."""

import functools
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.live_server import live_server
from tests.oauth.chromium import running_chromium
from tests.oauth.serving import SECRET, StubProvider
from tools.debian import find_browser
from tools.services import free_port

ROOT = Path(__file__).parent.parent.parent
GUIDE = ROOT / "docs" / "howto" / "sign-in-with.md"
APP = 'from app_kernel import create_service\n\napp = create_service("oauth_browser")\n'
PAGE = """<!doctype html><title>page</title><button id="pkce">Sign in with the stub</button>
<button id="cookie">Sign in with cookies</button><p id="who"></p>
<script>
const API = "%(api)s";
const PAGE = location.origin + "/page.html";
%(script)s
document.getElementById("pkce").onclick = signIn;
document.getElementById("cookie").onclick = () => {
  location.href = API + "/auth/oauth/stub?redirect_to=" + encodeURIComponent(PAGE);
};
async function withCookies(code) {
  const answer = await fetch(API + "/auth/oauth/exchange", {
    method: "POST", credentials: "include", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({code, cookie: true}),
  });
  if (!answer.ok) return null;
  return (await fetch(API + "/auth/me", {credentials: "include"})).json();
}
(async () => {
  const code = new URLSearchParams(location.search).get("code");
  let user = null;
  if (code && sessionStorage.getItem("verifier")) {
    const session = await finishSignIn();
    user = session && session.user;
  } else if (code) {
    user = await withCookies(code);
  }
  document.getElementById("who").textContent = user ? user.email : "nobody";
})();
</script>"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_request(self, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[int]:
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def script_of_the_guide() -> str:
    """What the guide tells a page to do, as it stands there."""
    return GUIDE.read_text().partition("```js\n")[2].partition("```")[0]


def test_a_person_signs_in_by_a_click_and_comes_back_to_the_page(provider: StubProvider, tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        pytest.fail("This test needs Chromium: apt-get install chromium, or set TEST_CHROMIUM to a Chrome of yours.")
    provider.behave()
    port, pages = free_port(), tmp_path / "pages"
    pages.mkdir()
    (tmp_path / "main.py").write_text(APP)
    with served(pages) as page_port:
        page = f"http://localhost:{page_port}/page.html"
        api = f"http://localhost:{port}"
        (pages / "page.html").write_text(PAGE % {"api": api, "script": script_of_the_guide()})
        environment = {
            "DATABASE_PATH": "app.db",
            "JWT_SECRET": SECRET,
            "PUBLIC_URL": api,
            "OAUTH_PROVIDERS": json.dumps(provider.settings()),
            "OAUTH_REDIRECT_URLS": page,
            "CORS_ORIGINS": page.removesuffix("/page.html"),
            "ALLOW_SELF_SIGNUP": "true",
        }
        with (
            live_server(tmp_path, "--port", str(port), **environment),
            running_chromium(browser, tmp_path / "profile") as chromium,
        ):
            chromium.open(page)
            who = "document.getElementById('who')?.textContent"
            assert chromium.wait_for(who) == "nobody"
            chromium.evaluate("document.getElementById('pkce').click()")
            assert chromium.wait_for(f"location.search == '' && {who} == 'ada@example.com' && {who}")
            chromium.evaluate("sessionStorage.clear(); document.getElementById('cookie').click()")
            assert chromium.wait_for(f"location.search.includes('code=') && {who} == 'ada@example.com' && {who}")
            assert "oauth" not in str(chromium.evaluate("document.cookie"))
            # The same address once more, as from the history: the code is used up.
            chromium.evaluate("document.getElementById('who').textContent = ''; location.reload()")
            assert chromium.wait_for(who) == "nobody"
