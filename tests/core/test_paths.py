"""The path that routes see."""

from typing import Any

import pytest

from app_kernel.core.paths import path_below_root


@pytest.mark.parametrize(
    ("root", "path", "below"),
    [
        ("", "/auth/login", "/auth/login"),
        (None, "/auth/login", "/auth/login"),
        ("/svc", "/svc/auth/login", "/auth/login"),
        ("/svc", "/auth/login", "/auth/login"),
        ("/svc", "/svc", ""),
        ("/au", "/auth/login", "/auth/login"),
        ("/svc", "/svcs/svc", "/svcs/svc"),
        ("/svc", "/svc/svc/a", "/svc/a"),
    ],
)
def test_only_a_whole_segment_of_the_path_is_the_place_of_the_application(
    root: str | None, path: str, below: str
) -> None:
    scope: dict[str, Any] = {"path": path, "root_path": root}
    assert path_below_root(scope) == below
