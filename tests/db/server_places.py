"""The servers that drivers are tested on, and a place of its own on each."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import pytest

from tests.db import mysql_tools, postgres_tools
from tests.db.server_tools import ServerPlace

SERVERS = ("postgres", "mysql")


LOOKING_AT: dict[str, Callable[[str], AbstractAsyncContextManager[ServerPlace]]] = {
    "postgres": postgres_tools.looking_at,
    "mysql": mysql_tools.looking_at,
}
"""By the kind of server: the database of a URL as it is."""


@dataclass(frozen=True)
class SharedServer:
    """The server of a kind that all tests use."""

    name: str
    url: str
    place_on: Callable[[str], AbstractAsyncContextManager[ServerPlace]]

    def place(self) -> AbstractAsyncContextManager[ServerPlace]:
        """A fresh place on it."""
        return self.place_on(self.url)


def shared_server(request: pytest.FixtureRequest) -> SharedServer:
    """The server that a fixture's parameter names."""
    tools = {"postgres": postgres_tools, "mysql": mysql_tools}[request.param]
    return SharedServer(request.param, request.getfixturevalue(f"{request.param}_url"), tools.place_on)
