"""Redis for the services of tests whose database keeps no jobs."""

import atexit
from contextlib import ExitStack
from functools import cache

from app_kernel.core.database_urls import MYSQL_SCHEMES, backend_of
from tools.services import services


def redis_beside(database: str) -> dict[str, str]:
    """The setting `redis_url`, and the argument of `kernel_client`, for a database that needs it; else nothing.

    The keys of every test begin with the id of its database.
    """
    return {"redis_url": _redis_url()} if backend_of(database) in MYSQL_SCHEMES else {}


@cache
def _redis_url() -> str:
    """The server of the environment, or one that ends with this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(services("redis"))["TEST_REDIS_URL"]
