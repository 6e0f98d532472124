"""A worker process that delivers mails until it is killed: `python mail_worker.py DATABASE_URL SMTP_URL REDIS_URL`.

The last may be empty.
"""

import asyncio
import sys

from app_kernel import ServiceConfig, create_service
from tests.jobs.places import SECRET


async def main(database: str, smtp: str, redis: str) -> None:
    config = ServiceConfig(
        jwt_secret=SECRET,
        database_name=database,
        redis_url=redis or None,
        embedded_worker=True,
        smtp_url=smtp,
        mail_from="post@shop.example",
        public_url="https://shop.example",
    )
    app = create_service("jobs_test", config=config)
    async with app.router.lifespan_context(app):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
