"""Talking to providers: within a time, up to a size, JSON only, and nowhere but where the request was sent.

Whatever a provider does wrong becomes ProviderUnavailable, with a fixed word for the log; what it said is neither
shown nor logged.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpx2
import orjson

from app_kernel.core.errors import ProviderUnavailable

PROVIDER_SECONDS = 8.0
"""How long one request of a browser may wait for its provider, whatever has to be asked there."""
LARGEST_ANSWER = 1024 * 1024
"""Bytes of one answer."""

_log = logging.getLogger("app_kernel.oauth")
_JSON = ("application/json", "+json")


class ProviderFailed(Exception):
    """A provider did not answer as it should; the text is a fixed word for the log."""


class Wire:
    """The HTTP client of one running service."""

    def __init__(self) -> None:
        self._client: httpx2.AsyncClient | None = None

    async def fetch(
        self,
        method: str,
        url: str,
        *,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """The status and the JSON of an answer; raises ProviderFailed."""
        # Without an encoding an answer cannot grow while it is unpacked.
        sent = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "app_kernel",
            **(headers or {}),
        }
        try:
            async with self._open().stream(method, url, data=form, headers=sent) as response:
                body = await _read(response)
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as exc:
            raise ProviderFailed("timeout" if isinstance(exc, httpx2.TimeoutException) else "connection") from exc
        if response.status_code >= 500:
            raise ProviderFailed("server_error")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not media_type.endswith(_JSON):
            raise ProviderFailed("not_json")
        try:
            return response.status_code, orjson.loads(body)
        except orjson.JSONDecodeError:
            raise ProviderFailed("not_json") from None

    async def fetch_object(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The JSON object behind a URL; raises ProviderFailed for anything else."""
        status, answer = await self.fetch("GET", url, headers=headers)
        if status != 200 or not isinstance(answer, dict):
            raise ProviderFailed("refused" if status != 200 else "malformed")
        return answer

    async def close(self) -> None:
        """Ends the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> httpx2.AsyncClient:
        """Made when it is first used: a service whose providers are never asked has none."""
        if self._client is None:
            self._client = httpx2.AsyncClient(
                verify=_trust(),
                follow_redirects=False,
                # A proxy from the environment would read client secrets and codes.
                trust_env=False,
                timeout=PROVIDER_SECONDS,
                # What a provider sets while one user signs in must not come along with the next one.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                limits=httpx2.Limits(max_connections=50, max_keepalive_connections=5),
            )
        return self._client


@asynccontextmanager
async def asking(provider: str) -> AsyncIterator[None]:
    """The block in which a provider is asked; raises ProviderUnavailable when it fails or takes too long."""
    try:
        async with asyncio.timeout(PROVIDER_SECONDS):
            yield
    except (ProviderFailed, TimeoutError) as exc:
        reason = str(exc) if isinstance(exc, ProviderFailed) else "timeout"
        _log.warning("oauth_provider_failed", extra={"provider": provider, "reason": reason})
        raise ProviderUnavailable from None


@cache
def _trust() -> ssl.SSLContext:
    """The authorities that vouch for providers; reading them takes a tenth of a second, once in a process."""
    return httpx2.create_ssl_context(trust_env=False)


async def _read(response: httpx2.Response) -> bytes:
    if response.is_redirect or 300 <= response.status_code < 400:
        raise ProviderFailed("redirect")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise ProviderFailed("encoded")
    body = bytearray()
    async for part in response.aiter_raw():
        body += part
        if len(body) > LARGEST_ANSWER:
            raise ProviderFailed("too_large")
    return bytes(body)
