"""An admin worker for the feature of these tests: REDIS ADMIN."""

import asyncio
import sys

from app_kernel.admin_worker import work
from tests.faults.outbox_feature import FEATURE

if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], [FEATURE]))
