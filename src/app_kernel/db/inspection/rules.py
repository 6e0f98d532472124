"""What is wrong, whatever the database: rules over what was found, each with a sentence how to mend it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from app_kernel.core.tables import Table
from app_kernel.db.drivers.base import FORMAT
from app_kernel.db.inspection.report import Finding, OutboxFacts, TableFacts
from app_kernel.db.table import HISTORY_SUFFIX

LATE_SECONDS = 60.0
"""Age of an unsent message from which on nobody seems to carry it; a relay at work takes about a second."""


def about_layout(meta: Mapping[str, int], tables: Iterable[str]) -> Iterator[Finding]:
    """Whether this version can work with the database at all; `meta` is what the kernel remembers of the schema."""
    found_format = meta.get("format")
    if found_format is None:
        yield Finding(
            "not-laid-out",
            "database",
            "The kernel's own tables are not there: no service has opened this database yet.",
            "Start the service, which makes them; or give the address of the right database.",
        )
        return
    if found_format > FORMAT:
        yield Finding(
            "newer-version",
            "database",
            f"It was laid out by a newer version of app_kernel: format {found_format}, and this one knows {FORMAT}.",
            "Install that version, here and in every service that uses this database.",
        )
    if "transfer" in meta:
        yield Finding(
            "half-filled",
            "database",
            "A copy or a restore into it has not come to its end, and no service opens it until then.",
            "Run the same `app-kernel db copy` or `db restore` again, which goes on where it stopped.",
        )
    if meta.get("changing"):
        yield Finding(
            "broken-off-change",
            "database",
            "A change of the schema is under way, or was broken off.",
            "Look again: the next service that starts brings one to its end that was broken off.",
            is_wrong=False,
        )
    lacking = sorted({"kernel_outbox", "kernel_dead_letters", "kernel_inbox", "kernel_relay"} - set(tables))
    if lacking:
        yield Finding(
            "older-version",
            "database",
            f"An earlier version made it, or somebody dropped a part: {', '.join(lacking)} is not there.",
            "Start the service once, which makes what is missing and keeps all rows and histories.",
        )


def about_table(table: TableFacts) -> Iterator[Finding]:
    """What is wrong with one table, without a look at its rows."""
    # The tables of the jobs are no entities, and the catalog knows nothing of them.
    is_plain = table.is_kernels and table.adopted
    if not is_plain:
        yield from _columns(table)
        yield from _history(table)
    if table.unversioned and table.adopted and not is_plain:
        yield Finding(
            "not-written-yet",
            table.name,
            f"{_counted(table.unversioned, 'row is', 'rows are')} the application's own, never saved by the store.",
            "Nothing is to be done: the first save of each writes down how it was found.",
            is_wrong=False,
        )
    elif table.unversioned and not table.adopted:
        yield Finding(
            "written-raw",
            table.name,
            f"{_counted(table.unversioned, 'row has', 'rows have')} no [_version]: other hands than the store's wrote"
            " there, so history and audit log know nothing of that.",
            "Save each of these once with its id: the store then writes down how it found it.",
        )
    for index in table.indexes:
        if not index.whole:
            yield Finding(
                "failed-index",
                index.name,
                f"The build of this index of {table.name} has failed, so no read uses it, and a unique one lets"
                " duplicates through.",
                "Call ensure_index() for the same fields, or start the service: both make it anew.",
            )


def about_declared(table: Table, there: TableFacts | None) -> Iterator[Finding]:
    """What a feature declares of its table, and the database lacks; one that is not there at all is made in time."""
    if there is None:
        return
    have = {(index.fields, index.unique) for index in there.indexes}
    # Where it makes pages faster, an index that is not unique ends with the id.
    have |= {(fields[:-1], unique) for fields, unique in have if fields[-1:] == ("id",)}
    for index in table.indexes:
        if (index.fields, index.unique) not in have:
            listed = ", ".join(index.fields)
            yield Finding(
                "missing-index",
                table.name,
                f"The {'unique ' if index.unique else ''}index over [{listed}] is not there.",
                "Start the service, which makes it.",
            )
    if table.history and there.history is None:
        yield Finding(
            "no-history",
            table.name,
            f"The table {table.name}{HISTORY_SUFFIX} is not there, so no change of it is written down.",
            "Restore that table from a backup; an empty one is made when the service starts without this table's name"
            " being taken.",
        )


def about_outbox(outbox: OutboxFacts) -> Iterator[Finding]:
    """Whether messages leave."""
    late = [topic for topic, seconds in outbox.topics.items() if seconds > LATE_SECONDS]
    if late:
        yield Finding(
            "outbox-late",
            ", ".join(late),
            f"Messages wait for {outbox.oldest_seconds:.0f} s: no service carries them, or their receiver is down.",
            "Start the service with the feature that takes them, and read what its log says of the relay.",
        )
    if outbox.dead:
        yield Finding(
            "dead-letters",
            "kernel_dead_letters",
            f"{_counted(outbox.dead, 'message was', 'messages were')} refused by the receiver until the relay gave up.",
            "`app-kernel outbox dead` says why; mend the reason, and `app-kernel outbox retry ID` sends one again.",
        )


def _columns(table: TableFacts) -> Iterator[Finding]:
    for column in table.columns:
        if column.type or column.kind == "unknown":
            continue
        yield Finding(
            "lost-column",
            table.name,
            f"The catalog knows [{column.name}] as {column.kind}, but the table has no such column:"
            f" {'a migration' if table.adopted else 'somebody'} dropped it, and reads give None for it.",
            f"Save a value to [{column.name}], which makes the column again; its old values are in the history.",
            # Of its own table an application may dispose.
            is_wrong=not table.adopted,
        )
    if table.missing:
        yield Finding(
            "missing-fields",
            table.name,
            f"{_listed(table.missing)} {'is' if len(table.missing) == 1 else 'are'} not there yet, which every table"
            " of the store has.",
            "Save any row of it: the store adds what is missing.",
            is_wrong=not table.adopted,
        )


def _history(table: TableFacts) -> Iterator[Finding]:
    if table.history_lacks:
        yield Finding(
            "history-lacks-columns",
            table.name,
            f"Its history has no column for {_listed(sorted(table.history_lacks))}, whose values are not written down.",
            "Save any row of it: the store adds what is missing, and writes them down from then on.",
            is_wrong=not table.adopted,
        )
    if table.history is None and not table.is_kernels and not table.missing:
        yield Finding(
            "keeps-no-history",
            table.name,
            "It has no history, as a table that a feature declares without one; one that was saved to otherwise should"
            " have had it.",
            f"If somebody dropped {table.name}{HISTORY_SUFFIX}, restore that table from a backup.",
            is_wrong=False,
        )


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"[{name}]" for name in names)


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"
