"""The path of a request as the routes of an application see it."""

from collections.abc import Mapping
from typing import Any


def path_below_root(scope: Mapping[str, Any]) -> str:
    """The path below the place where the application is mounted.

    ASGI has the whole path in `path` and that place in `root_path`; a path that only begins with the same letters
    (`/api` and `/apis`) is not below it.
    """
    path: str = scope["path"]
    root: str | None = scope.get("root_path")
    if not root or not path.startswith(root):
        return path
    below = path[len(root) :]
    return below if not below or below.startswith("/") else path
