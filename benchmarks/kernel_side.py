"""What every group needs to run the kernel: its environment and users that can sign in."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchError, environment, request
from benchmarks.peers.tokens import SECRET

PASSWORD = "long enough and not common 4711"


def kernel_environment(folder: Path, database_url: str | None = None) -> dict[str, str]:
    """Everything on that is on by default; the rate limit is set high.

    The database is a file in the folder unless a URL is given.
    """
    place = {"DATABASE_PATH": str(folder / "kernel.db")} if database_url is None else {"DATABASE_URL": database_url}
    return {
        **place,
        "JWT_SECRET": SECRET,
        "ALLOW_SELF_SIGNUP": "true",
        "RATE_LIMIT_REQUESTS": "100000000",
        "RATE_LIMIT_AUTH_REQUESTS": "100000000",
    }


def sign_up(port: int, email: str) -> str:
    """A new user's access token, over HTTP."""
    status, body = request(port, "POST", "/auth/register", body={"email": email, "password": PASSWORD})
    return access_token(status, body)


def access_token(status: int, body: Any) -> str:
    """The token in the answer to a sign-up. Raises BenchError when it was refused."""
    if status not in {200, 201} or not isinstance(body, dict):
        raise BenchError(f"sign-up answered {status}: {body}")
    return str(body["access_token"])


@functools.cache
def missing() -> str | None:
    """Why the kernel cannot be measured, None when it can; asked in a fresh process."""
    needed = (
        "from app_kernel import create_service, ServiceConfig, get_current_user\n"
        "from app_kernel.db import connect, db_connection"
    )
    tried = subprocess.run(
        [sys.executable, "-c", needed], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    return None if tried.returncode == 0 else tried.stderr.strip().rpartition("\n")[2]
