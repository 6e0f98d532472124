"""The words of a lease on PostgreSQL, by the server's clock; poolers do not matter."""

from app_kernel.db.drivers.table_lease import LeaseWords

LEASE_WORDS = LeaseWords(
    held="SELECT 1 FROM kernel_leases WHERE name = $1 AND expires_at > clock_timestamp()",
    take=(
        "INSERT INTO kernel_leases (name, holder, expires_at)"
        " VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))"
        " ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at"
        " WHERE kernel_leases.expires_at <= clock_timestamp() RETURNING 1"
    ),
    renew=(
        "UPDATE kernel_leases SET expires_at = clock_timestamp() + make_interval(secs => $3)"
        " WHERE name = $1 AND holder = $2 RETURNING 1"
    ),
    release="DELETE FROM kernel_leases WHERE name = $1 AND holder = $2",
    lazily="; SET LOCAL synchronous_commit = off",
)
