"""Statements over a history: the versions of one entity, and the rows of all as they were at an instant."""

from app_kernel.db.dialects.base import Dialect
from app_kernel.db.kinds import Kind
from app_kernel.db.table import EntityTable

_THEN, _LATER = '"kernel_then"', '"kernel_later"'


def select_versions(dialect: Dialect, history: EntityTable) -> str:
    """The history of one id, oldest first; a page of it may follow."""
    inside = dialect.inside(history, 2)
    return f"{_select(dialect, history)}{inside} ORDER BY {dialect.quote('_version')}"


def select_version(dialect: Dialect, history: EntityTable) -> str:
    """One version; parameters: id, version."""
    version = f"{dialect.quote('_version')} = {dialect.placeholder(2, Kind.INT)}"
    return f"{_select(dialect, history)} AND {version}{dialect.inside(history, 3)}"


def select_version_at(dialect: Dialect, history: EntityTable) -> str:
    """The latest version at an instant; parameters: id, instant."""
    before = f"{dialect.quote('_at')} <= {dialect.placeholder(2, Kind.STR)}"
    found = f"{dialect.id_condition(history, 1)} AND {before} ORDER BY {dialect.quote('_version')} DESC LIMIT 1"
    if history.workspace is None:
        return f"{_listed(dialect, history)} FROM {dialect.table(history.name)} WHERE {found}"
    # The latest of all, which is then of the workspace or not.
    latest = f"(SELECT * FROM {dialect.table(history.name)} WHERE {found}) AS {_THEN}"
    return f"{_listed(dialect, history)} FROM {latest} WHERE {dialect.is_inside(history, 3)}"


def source_then(dialect: Dialect, history: EntityTable) -> str:
    """What `condition_then` is said of."""
    return f"{dialect.table(history.name)} AS {_THEN}"


def condition_then(dialect: Dialect, history: EntityTable, position: int) -> str:
    """Holds for the latest version of each id at an instant; its parameters, both the instant, begin at `position`.

    A search by the key for each row that the rest of the clause leaves: measured, faster than any grouping.
    """
    id, version, at, action = map(dialect.quote, ("id", "_version", "_at", "_action"))
    instant, again = (dialect.placeholder(position + offset, Kind.STR) for offset in (0, 1))
    later = (
        f"SELECT 1 FROM {dialect.table(history.name)} AS {_LATER} WHERE {_LATER}.{id} = {_THEN}.{id}"
        f" AND {_LATER}.{version} > {_THEN}.{version} AND {_LATER}.{at} <= {again}"
    )
    return f"{_THEN}.{at} <= {instant} AND {_THEN}.{action} <> 'purge' AND NOT EXISTS ({later})"


def _select(dialect: Dialect, history: EntityTable) -> str:
    found = f" FROM {dialect.table(history.name)} WHERE {dialect.id_condition(history, 1)}"
    return f"{_listed(dialect, history)}{found}"


def _listed(dialect: Dialect, history: EntityTable) -> str:
    return f"SELECT {dialect.read_list(history)}{dialect.generation_column}"
