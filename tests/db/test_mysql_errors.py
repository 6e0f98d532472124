"""The errors of MySQL and MariaDB are ours, name fields and constraints, and never repeat a value or a place."""

import asyncio
import re
import secrets
import ssl
from collections.abc import AsyncIterator
from typing import Any

import asyncmy
import pytest
from asyncmy import errors

from app_kernel.core.errors import (
    ConnectionLost,
    ConnectTimeout,
    ConstraintViolation,
    DatabaseBusy,
    InvalidQuery,
    MissingValue,
    QueryTimeout,
    SchemaLimit,
    StorageFull,
    StorageReadOnly,
    Unavailable,
    UniqueViolation,
    UnsupportedValue,
)
from app_kernel.db.drivers import mysql_errors as ours
from app_kernel.db.drivers.mysql_options import MySqlOptions, parse_mysql_url
from app_kernel.db.errors import MissingColumn, MissingTable

CANARY = "canary-7f3a"
PLACE = "db.internal"


def told(number: int, message: str, sqlstate: str | None = "HY000") -> errors.MySQLError:
    exc = errors.OperationalError(number, message)
    exc.sqlstate = sqlstate
    return exc


MEANINGS: dict[tuple[int, str], tuple[type[Exception], str]] = {
    (1062, f"Duplicate entry '{CANARY}' for key 'PRIMARY'"): (UniqueViolation, "this [id]"),
    (1062, f"Duplicate entry '{CANARY}' for key 'widgets.PRIMARY'"): (UniqueViolation, "this [id]"),
    (1062, f"Duplicate entry '{CANARY} for key 'PRIMARY'' for key 'u'"): (UniqueViolation, "a field that must be"),
    (1586, f"Duplicate entry '{CANARY}' for key 'u'"): (UniqueViolation, "a field that must be unique"),
    (1169, f"Can't write, because of unique constraint, to table '{PLACE}'"): (UniqueViolation, "must be unique"),
    (1048, "Column 'n' cannot be null"): (MissingValue, "[n] is required"),
    (1364, "Field 'n' doesn't have a default value"): (MissingValue, "[n] is required"),
    (1263, "Column set to default value; NULL supplied to NOT NULL column 'n' at row 1"): (MissingValue, "[n]"),
    (1452, f"Cannot add: a foreign key constraint fails (`{PLACE}`.`t`"): (ConstraintViolation, "A foreign key"),
    (1217, "Cannot delete or update a parent row: a foreign key constraint fails"): (ConstraintViolation, "foreign"),
    (4025, f"CONSTRAINT `positive` failed for `{PLACE}`.`t`"): (ConstraintViolation, "refuses this: positive."),
    (3819, "Check constraint 'positive' is violated."): (ConstraintViolation, "refuses this: positive."),
    (1644, "not on Sundays"): (ConstraintViolation, "refuses this: not on Sundays."),
    (1406, f"Data too long for column '{CANARY}' at row 1"): (UnsupportedValue, "longer than its column"),
    (1366, f"Incorrect integer value: '{CANARY}' for column `a`.`b`.`n` at row 1"): (InvalidQuery, "does not fit"),
    (1366, f"Incorrect string value: '{CANARY}' for column `a`.`b`.`n` at row 1"): (UnsupportedValue, "character set"),
    (1300, f"Invalid utf8mb4 character string: '{CANARY}'"): (UnsupportedValue, "character set"),
    (1292, f"Truncated incorrect DOUBLE value: '{CANARY}'"): (InvalidQuery, "does not fit"),
    (1265, "Data truncated for column 'n' at row 1"): (InvalidQuery, "does not fit"),
    (1411, f"Incorrect datetime value: '{CANARY}' for function str_to_date"): (InvalidQuery, "does not fit"),
    (3140, f"Invalid JSON text: \"{CANARY}\" at position 0 in value for column 't.j'."): (InvalidQuery, "does not fit"),
    (3157, "The JSON document exceeds the maximum depth."): (UnsupportedValue, "nested more deeply"),
    (1264, "Out of range value for column 'n' at row 1"): (InvalidQuery, "A number does not fit"),
    (1690, f"BIGINT value is out of range in '({CANARY} + 1)'"): (InvalidQuery, "A number does not fit"),
    (1365, "Division by 0"): (InvalidQuery, "divides by zero"),
    (1153, "Got a packet bigger than 'max_allowed_packet' bytes"): (UnsupportedValue, "max_allowed_packet"),
    (1301, "Result of repeat() was larger than max_allowed_packet"): (UnsupportedValue, "max_allowed_packet"),
    (1118, "Row size too large (> 8126). Changing some columns to TEXT or BLOB may help."): (UnsupportedValue, "row"),
    (1118, "Row size too large. The maximum row size is 65535."): (SchemaLimit, "65535"),
    (1117, "Too many columns"): (SchemaLimit, "no further column"),
    (1005, f'Can\'t create table `{PLACE}`.`t` (errno: 185 "Too many columns")'): (SchemaLimit, "no further column"),
    (1005, f'Can\'t create table `{PLACE}`.`t` (errno: 28 "No space left on device")'): (StorageFull, "full"),
    (1005, f'Can\'t create table `{PLACE}`.`t` (errno: 150 "Foreign key")'): (InvalidQuery, "cannot make this table"),
    (1071, "Specified key was too long; max key length is 3072 bytes"): (SchemaLimit, "3072 bytes"),
    (1170, "BLOB/TEXT column 'n' used in key specification without a key length"): (SchemaLimit, "index"),
    (1059, f"Identifier name '{CANARY}' is too long"): (InvalidQuery, "64 characters"),
    (1146, f"Table '{PLACE}.notes' doesn't exist"): (MissingTable, "no table notes"),
    (1051, f"Unknown table '{PLACE}.notes'"): (MissingTable, "no table notes"),
    (1054, "Unknown column 'n' in 'SELECT'"): (MissingColumn, "no column n"),
    (1054, "Unknown column 't.n' in 'field list'"): (MissingColumn, "no column n"),
    (1064, f"You have an error in your SQL syntax; near 'FROM x WHERE '{CANARY}'' at line 3"): (InvalidQuery, "line 3"),
    (1136, "Column count doesn't match value count at row 1"): (InvalidQuery, "refused the statement: Column count"),
    (1999, f"something about '{CANARY}'"): (InvalidQuery, "refused the statement: error 1999"),
    (1213, "Deadlock found when trying to get lock"): (DatabaseBusy, "waited for each other"),
    (1020, "Record has changed since last read in table 'notes'"): (DatabaseBusy, "same rows"),
    (1412, "Table definition has changed, please retry transaction"): (DatabaseBusy, "changed the table"),
    (1205, "Lock wait timeout exceeded; try restarting transaction"): (DatabaseBusy, "held a lock"),
    (1969, "Query execution was interrupted (max_statement_time exceeded)"): (QueryTimeout, "statement timeout"),
    (3024, "Query execution was interrupted, maximum statement execution time exceeded"): (QueryTimeout, "timeout"),
    (1317, "Query execution was interrupted"): (QueryTimeout, "statement timeout"),
    (1053, "Server shutdown in progress"): (ConnectionLost, "broke"),
    (1927, "Connection was killed"): (ConnectionLost, "broke"),
    (2006, f"MySQL server has gone away ({PLACE})"): (ConnectionLost, "broke"),
    (2013, f"Lost connection to MySQL server during query ({PLACE})"): (ConnectionLost, "broke"),
    (4031, "The client was disconnected by the server because of inactivity."): (ConnectionLost, "broke"),
    (4031, f"Referenced trigger '{CANARY}' does not exist"): (InvalidQuery, "error 4031"),
    (1158, "Got an error reading communication packets"): (ConnectionLost, "broke"),
    (1040, "Too many connections"): (Unavailable, "no connection left"),
    (1203, f"User {CANARY} already has more than 'max_user_connections'"): (Unavailable, "no connection left"),
    (1045, f"Access denied for user '{CANARY}'@'{PLACE}' (using password: YES)"): (Unavailable, "refused the user"),
    (1698, f"Access denied for user '{CANARY}'@'{PLACE}'"): (Unavailable, "refused the user"),
    (1044, f"Access denied for user '{CANARY}'@'%' to database '{PLACE}'"): (Unavailable, "may not do this"),
    (1142, f"INSERT command denied to user '{CANARY}'@'{PLACE}' for table 't'"): (Unavailable, "may not do this"),
    (1227, "Access denied; you need (at least one of) the SUPER privilege(s)"): (Unavailable, "may not do this"),
    (1049, f"Unknown database '{PLACE}'"): (Unavailable, "no database of this name"),
    (1130, f"Host '{PLACE}' is not allowed to connect"): (Unavailable, "no connections from here"),
    (1290, "The server is running with the --read-only option so it cannot execute"): (StorageReadOnly, "read-only"),
    (1290, "The server is running with the --secure-file-priv option so it cannot"): (Unavailable, "An option"),
    (1792, "Cannot execute statement in a READ ONLY transaction"): (StorageReadOnly, "read-only"),
    (1021, f"Disk full (/{PLACE}); waiting for someone to free some space"): (StorageFull, "full"),
    (1114, "The table 'notes' is full"): (StorageFull, "full"),
    (1030, 'Got error 28 "No space left on device" from storage engine InnoDB'): (StorageFull, "full"),
    (1030, 'Got error 168 "Unknown" from storage engine InnoDB'): (Unavailable, "trouble with its disk"),
    (3, f"Error writing file '/{PLACE}' (Errcode: 28 \"No space left on device\")"): (StorageFull, "full"),
    (3, f"Error writing file '/{PLACE}' (errno: 5)"): (Unavailable, "trouble with its disk"),
}


@pytest.mark.parametrize(("number", "message"), MEANINGS)
def test_every_number_has_its_meaning_and_no_text_of_the_servers_that_holds_values(number: int, message: str) -> None:
    kind, words = MEANINGS[number, message]
    found = ours.to_ours(told(number, message))
    assert type(found) is kind
    assert words in str(found)
    assert CANARY not in str(found)
    assert PLACE not in str(found)


def test_a_trigger_may_raise_under_any_number() -> None:
    found = ours.to_ours(told(3333, "not on Sundays", "45000"))
    assert type(found) is ConstraintViolation
    assert str(found) == "A constraint of the table refuses this: not on Sundays."


def test_fields_are_named_where_the_server_names_them() -> None:
    primary = ours.to_ours(told(1062, "Duplicate entry 'a' for key 'PRIMARY'"))
    other = ours.to_ours(told(1062, "Duplicate entry 'a' for key 'u'"))
    column = ours.to_ours(told(4025, "CONSTRAINT `notes.n` failed for `a`.`notes`"))
    table = ours.to_ours(told(4025, "CONSTRAINT `positive` failed for `a`.`notes`"))
    fields = [found.field for found in (primary, other, column, table) if isinstance(found, ConstraintViolation)]
    assert fields == ["id", None, "n", None]


@pytest.mark.parametrize(
    ("message", "key"),
    [
        ("Duplicate entry 'a' for key 'PRIMARY'", "PRIMARY"),
        ("Duplicate entry 'a' for key 'notes.PRIMARY'", "PRIMARY"),
        ("Duplicate entry 'a' for key 'notes_email_key'", "notes_email_key"),
        ("Duplicate entry 'x' for key 'PRIMARY'' for key 'u'", "u"),
        ("Duplicate entry for key 'notes.u'", "u"),
        ("Can't write, because of unique constraint, to table 'notes'", None),
    ],
)
def test_the_key_of_a_duplicate_is_the_last_that_is_named(message: str, key: str | None) -> None:
    assert ours.key_of(told(1062, message)) == key


KINDS_OF_LOSS: list[tuple[BaseException, bool, bool, bool]] = [
    # the error; is the connection lost; may it be used again; was the statement never sent
    (told(2006, "MySQL server has gone away"), True, False, True),
    (errors.InterfaceError(0, "Not connected"), True, False, True),
    (told(2013, "Lost connection to MySQL server during query"), True, False, False),
    (errors.InternalError("Packet sequence number wrong - got 1 expected 2"), True, False, False),
    (told(1153, "Got a packet bigger than 'max_allowed_packet' bytes"), True, False, False),
    (told(4031, "The client was disconnected by the server because of inactivity."), True, False, True),
    (told(4031, "Referenced trigger 'x' does not exist"), False, True, False),
    (told(1927, "Connection was killed"), True, False, False),
    (ConnectionResetError(), True, False, False),
    (asyncio.IncompleteReadError(b"", 4), True, False, False),
    (TimeoutError(), False, False, False),
    (told(1062, "Duplicate entry 'a' for key 'PRIMARY'"), False, True, False),
    (told(1213, "Deadlock found"), False, True, False),
    (told(1317, "Query execution was interrupted"), False, True, False),
    (told(1045, "Access denied"), False, True, False),
]


@pytest.mark.parametrize(("exc", "lost", "reusable", "unsent"), KINDS_OF_LOSS)
def test_a_lost_connection_is_told_from_a_refusal(exc: BaseException, lost: bool, reusable: bool, unsent: bool) -> None:
    assert isinstance(exc, ours.FOREIGN)
    assert (ours.is_lost(exc), ours.is_reusable(exc), ours.was_never_sent(exc)) == (lost, reusable, unsent)
    assert not ours.may_be_stale(exc)


def test_what_may_be_repeated_is_told_from_what_may_not() -> None:
    assert [n for n in (1020, 1062, 1205, 1213, 1412) if ours.is_conflict(told(n, ""))] == [1020, 1213, 1412]
    assert [n for n in (1205, 1213, 3572) if ours.is_lock_timeout(told(n, ""))] == [1205, 3572]
    assert [n for n in (1020, 1205, 1213, 1412) if ours.ended_transaction(told(n, ""))] == [1020, 1213]
    assert [n for n in (1264, 1366, 1406, 1064, 1690) if ours.is_about_values(told(n, ""))] == [1264, 1366, 1690]


def from_connect(cause: OSError) -> errors.MySQLError:
    exc = told(2003, f"Can't connect to MySQL server on '{PLACE}' ({cause})")
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    ("exc", "kind", "words"),
    [
        (TimeoutError(), ConnectTimeout, "in time"),
        (from_connect(TimeoutError()), ConnectTimeout, "in time"),
        (from_connect(ssl.SSLCertVerificationError(1, PLACE)), Unavailable, "TLS"),
        (from_connect(ssl.SSLError(1, "WRONG_VERSION_NUMBER")), Unavailable, "TLS"),
        (from_connect(ConnectionRefusedError(111, PLACE)), Unavailable, "cannot be reached"),
        (told(2013, f"Lost connection ({PLACE})"), Unavailable, "cannot be reached"),
        (told(1045, f"Access denied for user '{CANARY}'@'{PLACE}'"), Unavailable, "refused the user or the password"),
        (told(1049, f"Unknown database '{PLACE}'"), Unavailable, "no database of this name"),
        (told(1040, "Too many connections"), Unavailable, "no connection left"),
        (told(1231, f"Variable can't be set to the value of '{CANARY}'"), Unavailable, "refused the connection"),
        (told(2059, f"Authentication plugin '{PLACE}' not configured"), Unavailable, "signs in by a method"),
        (RuntimeError("'pynacl' package is required"), Unavailable, "signs in by a method"),
    ],
)
def test_what_went_wrong_while_connecting_is_told_without_the_place(
    exc: BaseException, kind: type[Exception], words: str
) -> None:
    assert isinstance(exc, ours.SIGN_IN_ERRORS)
    found = ours.connect_error(exc)
    assert type(found) is kind
    assert words in str(found)
    assert CANARY not in str(found)
    assert PLACE not in str(found)


def test_a_server_without_tls_is_told_from_one_with_a_bad_certificate() -> None:
    assert ours.lacks_tls(from_connect(ssl.SSLError(1, "WRONG_VERSION_NUMBER")))
    assert not ours.lacks_tls(from_connect(ssl.SSLCertVerificationError(1, "self-signed")))
    assert not ours.lacks_tls(from_connect(ConnectionRefusedError()))


async def connect(options: MySqlOptions, **changes: Any) -> Any:
    given = {
        "host": options.host,
        "port": options.port,
        "user": options.user,
        "password": options.password,
        "database": options.database,
        "autocommit": True,
        "sql_mode": "'STRICT_TRANS_TABLES,ANSI_QUOTES,NO_BACKSLASH_ESCAPES,ERROR_FOR_DIVISION_BY_ZERO'",
    }
    return await asyncmy.connect(**{**given, **changes})


@pytest.fixture
async def server(mysql_url: str) -> AsyncIterator[Any]:
    """A connection to the real server, in a database of its own."""
    connection = await connect(parse_mysql_url(mysql_url))
    name = f"errors_{secrets.token_hex(6)}"
    await connection.query(f"CREATE DATABASE {name}")
    await connection.query(f"USE {name}")
    yield connection
    await connection.query(f"DROP DATABASE {name}")
    await connection.ensure_closed()


TABLES = (
    (
        "CREATE TABLE notes (id VARCHAR(20) PRIMARY KEY, n BIGINT, s VARCHAR(5), must INT NOT NULL, u VARCHAR(50),"
        " j JSON, d DATETIME(6), CONSTRAINT positive CHECK (n <> 13), UNIQUE KEY notes_u (u))"
    ),
    "CREATE TABLE children (id INT PRIMARY KEY, p VARCHAR(20), FOREIGN KEY (p) REFERENCES notes (id))",
    f"INSERT INTO notes (id, must, u) VALUES ('a', 1, '{CANARY}')",
    "CREATE TRIGGER never BEFORE DELETE ON children FOR EACH ROW SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'never'",
    "INSERT INTO children VALUES (1, 'a')",
    f"CREATE TABLE wide (id INT PRIMARY KEY, {', '.join(f'c{i} TEXT' for i in range(300))})",
)
FROM_SERVER: dict[str, tuple[type[Exception], str]] = {
    "INSERT INTO notes (id, must) VALUES ('a', 1)": (UniqueViolation, "[id]"),
    f"INSERT INTO notes (id, must, u) VALUES ('b', 1, '{CANARY}')": (UniqueViolation, "must be unique"),
    "INSERT INTO notes (id) VALUES ('b')": (MissingValue, "[must]"),
    "INSERT INTO notes (id, must) VALUES ('b', NULL)": (MissingValue, "[must]"),
    "INSERT INTO notes (id, must, n) VALUES ('b', 1, 13)": (ConstraintViolation, "positive"),
    f"INSERT INTO notes (id, must, j) VALUES ('b', 1, '{CANARY}')": (ConstraintViolation, "notes.j"),
    f"INSERT INTO notes (id, must, n) VALUES ('b', 1, '{CANARY}')": (InvalidQuery, "does not fit"),
    "INSERT INTO notes (id, must, n) VALUES ('b', 1, 9223372036854775808)": (InvalidQuery, "number does not fit"),
    "INSERT INTO notes (id, must, n) VALUES ('b', 1, 1/0)": (InvalidQuery, "divides by zero"),
    f"INSERT INTO notes (id, must, s) VALUES ('b', 1, '{CANARY}')": (UnsupportedValue, "longer"),
    f"INSERT INTO notes (id, must, d) VALUES ('b', 1, '{CANARY}')": (InvalidQuery, "does not fit"),
    "INSERT INTO notes (id, must, d) VALUES ('b', 1, '2026-01-01T00:00:00+00:00')": (InvalidQuery, "does not fit"),
    f"UPDATE notes SET n = n WHERE s = 5 AND u = 1 OR u = '{CANARY}' + 1": (InvalidQuery, "does not fit"),
    "INSERT INTO children VALUES (2, 'nobody')": (ConstraintViolation, "foreign key"),
    "DELETE FROM notes": (ConstraintViolation, "foreign key"),
    "DELETE FROM children": (ConstraintViolation, "never"),
    "SELECT 9223372036854775807 + 1": (InvalidQuery, "number does not fit"),
    "SELECT nothing FROM notes": (MissingColumn, "nothing"),
    "SELECT 1 FROM nothing": (MissingTable, "nothing"),
    "DROP TABLE nothing": (MissingTable, "nothing"),
    f"SELECT FROM notes WHERE u = '{CANARY}'": (InvalidQuery, "syntax in line 1"),
    "SELECT nofunction(1)": (InvalidQuery, "nofunction does not exist"),
    "SELECT (SELECT 1 UNION SELECT 2)": (InvalidQuery, "more than 1 row"),
    "INSERT INTO notes (id, must) VALUES (1)": (InvalidQuery, "Column count"),
    "CREATE TABLE notes (id INT)": (InvalidQuery, "already exists"),
    "CREATE TABLE t (id TEXT PRIMARY KEY)": (SchemaLimit, "index"),
    "CREATE TABLE t (id VARCHAR(1000) CHARACTER SET utf8mb4 PRIMARY KEY)": (SchemaLimit, "3072 bytes"),
    f"CREATE TABLE t ({', '.join(f'c{i} INT' for i in range(1018))})": (SchemaLimit, "no further column"),
    f"CREATE TABLE t ({', '.join(f'c{i} VARCHAR(1000)' for i in range(80))})": (SchemaLimit, "65535"),
    f"CREATE TABLE t ({'c' * 65} INT)": (InvalidQuery, "64 characters"),
    f"INSERT INTO wide VALUES (1, {', '.join(['repeat(1, 39)'] * 300)})": (UnsupportedValue, "row is too large"),
    "SET STATEMENT max_statement_time = 0.01 FOR SELECT sleep(5)": (QueryTimeout, ""),
    "USE nowhere": (Unavailable, "no database of this name"),
}


async def test_the_real_server_says_what_is_expected_of_it(server: Any) -> None:
    for sql in TABLES:
        await server.query(sql)
    for sql, (kind, words) in FROM_SERVER.items():
        with pytest.raises(errors.MySQLError) as caught:
            await server.query(sql)
        found = ours.to_ours(caught.value)
        assert type(found) is kind, f"{sql[:200]}: {caught.value}"
        assert words in str(found)
        assert CANARY not in str(found)
        assert not re.search(r"errors_[0-9a-f]{12}\.(?!nofunction)", str(found))
        assert ours.is_reusable(caught.value)
    await server.query("START TRANSACTION READ ONLY")
    with pytest.raises(errors.MySQLError) as caught:
        await server.query("DELETE FROM children")
    assert type(ours.to_ours(caught.value)) is StorageReadOnly


async def test_a_packet_that_is_too_large_costs_the_connection_and_is_the_values_fault(
    server: Any, mysql_url: str
) -> None:
    other = await connect(parse_mysql_url(mysql_url))
    with pytest.raises(errors.MySQLError) as caught:
        await other.query(f"SELECT '{'x' * (17 * 1024 * 1024)}'")
    assert ours.is_lost(caught.value)
    # The server may have hung up before its answer is read.
    assert type(ours.to_ours(caught.value)) in (UnsupportedValue, ConnectionLost)
    other.close()


async def test_a_connection_that_the_server_ends_is_lost(server: Any, mysql_url: str) -> None:
    other = await connect(parse_mysql_url(mysql_url))
    await server.query(f"KILL {other.thread_id()}")
    with pytest.raises(errors.MySQLError) as caught:
        await other.query("SELECT 1")
    assert ours.is_lost(caught.value)
    assert type(ours.to_ours(caught.value)) is ConnectionLost
    with pytest.raises(errors.MySQLError) as caught:
        await other.query("SELECT 1")
    assert ours.is_lost(caught.value)
    assert ours.was_never_sent(caught.value)


async def test_real_refusals_to_connect_are_told_apart(mysql_url: str, tmp_path: Any, unused_tcp_port: int) -> None:
    options = parse_mysql_url(mysql_url)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"password": CANARY}, "refused the user or the password"),
        ({"database": "nowhere"}, "no database of this name"),
        ({"port": unused_tcp_port}, "cannot be reached"),
        ({"unix_socket": str(tmp_path / "nothing")}, "cannot be reached"),
    ]
    for changes, words in cases:
        with pytest.raises(ours.SIGN_IN_ERRORS) as caught:
            await connect(options, **changes)
        found = ours.connect_error(caught.value)
        assert words in str(found)
        assert CANARY not in str(found)
        assert options.host not in str(found)
