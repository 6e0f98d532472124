"""uvicorn with that application, whose own worker is in a hurry: BEAT SCALE PORT, as for `webhook_worker`."""

import sys

import uvicorn

from app_kernel.db.drivers import sqlite_connection
from app_kernel.jobs import upkeep
from app_kernel.webhooks.schedule import scaled
from tests.faults.soak_app import app

KEEP_ALIVE_SECONDS = 75
"""Longer than a balancer keeps a connection that is not in use, so that it is the balancer who closes it."""
GRACE_SECONDS = 20
CACHE_KIB = 512
"""Of SQLite's pages in each connection: the kernel's own 16 MB take longer to fill than most processes live here."""

if __name__ == "__main__":
    beat, scale, port = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    sqlite_connection.CACHE_KIB = CACHE_KIB
    upkeep.BEAT_SECONDS = upkeep.LOOK_SECONDS = beat
    with scaled(scale):
        uvicorn.run(
            app,
            port=port,
            log_config=None,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
