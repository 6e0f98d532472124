"""A row of a raw query."""

from collections.abc import Iterator, Sequence
from typing import Any, Self


class ResultRow(tuple[Any, ...]):  # noqa: SLOT001 - a tuple cannot have a slot of its own
    """A tuple whose values also read by column name: `row[0]` and `row["name"]`; `dict(row.items())` makes a dict."""

    _names: tuple[str, ...]

    @classmethod
    def make(cls, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> list[Self]:
        """Rows with the names of their columns."""
        made = []
        for values in rows:
            row = cls(values)
            row._names = names
            made.append(row)
        return made

    def __getitem__(self, key: Any) -> Any:
        """The value at a position, or of a column by name; raises KeyError for a name that is not there."""
        if isinstance(key, str):
            try:
                return super().__getitem__(self._names.index(key))
            except ValueError:
                raise KeyError(key) from None
        return super().__getitem__(key)

    def keys(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._names

    def items(self) -> Iterator[tuple[str, Any]]:
        """Name and value of each column."""
        return zip(self._names, self, strict=True)
