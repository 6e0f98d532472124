"""The wire to Redis: the one place that imports its client, and only where Redis is configured."""

import re
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from redis.asyncio import Redis

SECONDS = 2.0
"""How long a connection or an answer may take; `?socket_timeout=` in the URL wins, and so for the others."""
CONNECTIONS = 64
"""Most connections of one process. Whoever needs one more waits for at most SECONDS."""
HEALTH_CHECK_SECONDS = 15
"""A connection that was idle for longer is asked before it is used, as firewalls forget idle ones."""


def create_redis(url: str, name: str) -> "Redis":
    """A client that connects when it is first used, for the running event loop; `name` shows in CLIENT LIST.

    A command is repeated once after a broken connection, as every connection is after Redis was started anew, and
    never after a timeout, as it may have been carried out. Answers are bytes.
    """
    # A third of a second that a service without Redis does not pay, and a package that it need not have.
    from redis.asyncio import BlockingConnectionPool, Redis  # noqa: PLC0415
    from redis.asyncio.retry import Retry  # noqa: PLC0415
    from redis.backoff import ConstantBackoff  # noqa: PLC0415
    from redis.exceptions import ConnectionError as ConnectionLost  # noqa: PLC0415

    from app_kernel.redis_connection import QuickConnection  # noqa: PLC0415

    pool = BlockingConnectionPool.from_url(
        url,
        # For redis://; the other schemes bring their own.
        connection_class=QuickConnection,
        max_connections=CONNECTIONS,
        timeout=SECONDS,
        socket_timeout=SECONDS,
        socket_connect_timeout=SECONDS,
        health_check_interval=HEALTH_CHECK_SECONDS,
        client_name=f"app-kernel:{_without_spaces('_', name)}",
        retry=Retry(ConstantBackoff(0.05), 1, supported_errors=(ConnectionLost,)),
    )
    return Redis.from_pool(pool)


_without_spaces = partial(re.compile(r"[^!-~]+").sub)
