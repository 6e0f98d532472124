"""Facts that drivers report to the store; it answers them by refreshing what it knows, so callers never see them."""


class SchemaFact(Exception):
    """The store's picture of the schema is not what the database has."""


class MissingTable(SchemaFact):
    """There is no such table."""


class MissingColumn(SchemaFact):
    """There is no such column."""


class SchemaStale(SchemaFact):
    """The schema's generation moved on since the statement was compiled."""
