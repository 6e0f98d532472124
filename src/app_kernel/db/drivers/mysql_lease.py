"""The words of a lease on MySQL, by the server's clock."""

from app_kernel.db.dialects.mysql_marks import mark, then
from app_kernel.db.drivers.table_lease import LeaseWords

_NOW = "UTC_TIMESTAMP(6)"
_LATER = f"{_NOW} + INTERVAL CAST({mark(3)} * 1000000 AS SIGNED) MICROSECOND"
_OURS = f'"name" = {mark(1)} AND "holder" = {mark(2)}'
_IS_OURS = f'SELECT 1 FROM "kernel_leases" WHERE {_OURS}'  # noqa: S608 - marks only

LEASE_WORDS = LeaseWords(
    held=f'SELECT 1 FROM "kernel_leases" WHERE "name" = {mark(1)} AND "expires_at" > {_NOW}',  # noqa: S608 - as above
    take=then(
        [
            f'INSERT INTO "kernel_leases" ("name", "holder", "expires_at") VALUES ({mark(1)}, {mark(2)}, {_LATER})'  # noqa: S608 - as above
            # The second assignment sees what the first has made of the holder.
            f' ON DUPLICATE KEY UPDATE "holder" = IF("expires_at" <= {_NOW}, VALUES("holder"), "holder"),'
            ' "expires_at" = IF("holder" = VALUES("holder"), VALUES("expires_at"), "expires_at")',
            _IS_OURS,
        ]
    ),
    renew=then([f'UPDATE "kernel_leases" SET "expires_at" = {_LATER} WHERE {_OURS}', _IS_OURS]),  # noqa: S608 - as above
    release=f'DELETE FROM "kernel_leases" WHERE {_OURS}',  # noqa: S608 - as above
)
