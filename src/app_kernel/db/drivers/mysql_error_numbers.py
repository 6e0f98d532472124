"""What the error numbers of MySQL and MariaDB mean to us.

Numbers below 1000 come from the server's file system layer, 2000 to 2999 from the driver, 3000 to 3999 from MySQL
alone, 4000 and above from either of the two with meanings of their own.
"""

from app_kernel.core.errors import (
    DatabaseBusy,
    InvalidQuery,
    QueryTimeout,
    SchemaLimit,
    StorageFull,
    StorageReadOnly,
    StoreError,
    Unavailable,
    UnsupportedValue,
)

LOST_UNSENT = 2006
"""The driver found the connection closed before it sent anything."""
LOST = frozenset({1053, 1077, 1079, 1080, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1927})
"""After these the server closes the connection; 1153 is a packet that is too large for it."""
LOCK_TIMEOUTS = frozenset({1205, 3572})
ENDS_TRANSACTION = frozenset({1020, 1206, 1213})
"""The server has rolled back the whole transaction, and not the statement alone."""

_NO_FIT = "A value does not fit the type that is needed where it stands."
_NUMBER = "A number does not fit the type of its column or of the result."
_TEXT = "MySQL cannot store this text in the character set of its column."
_REFUSED = "The database server refused the user or the password."
_NOT_ALLOWED = "The database user may not do this."
_CROWDED = "The database server has no connection left."
_POOR = "The database server is out of resources."
_LOCKED = "Another transaction held a lock on the table for too long; try again."
_WIDE = "MySQL allows no further column in this table."
_KEY = "MySQL cannot index this: a key has at most 3072 bytes, and text in one needs a length."
_PACKET = "A value or a statement is larger than the database server takes; see its max_allowed_packet."
_READ_ONLY = "The database cannot be written: the server or the transaction is read-only."

KINDS: dict[int, tuple[type[StoreError], str | None]] = {
    20: (StorageFull, None),
    1021: (StorageFull, None),
    1114: (StorageFull, None),
    1792: (StorageReadOnly, _READ_ONLY),
    1836: (StorageReadOnly, _READ_ONLY),
    # Values.
    1264: (InvalidQuery, _NUMBER),
    1690: (InvalidQuery, _NUMBER),
    1365: (InvalidQuery, "The statement divides by zero."),
    1265: (InvalidQuery, _NO_FIT),
    1292: (InvalidQuery, _NO_FIT),
    1367: (InvalidQuery, _NO_FIT),
    1411: (InvalidQuery, _NO_FIT),
    1441: (InvalidQuery, _NO_FIT),
    3140: (InvalidQuery, _NO_FIT),
    3141: (InvalidQuery, _NO_FIT),
    3144: (InvalidQuery, _NO_FIT),
    1300: (UnsupportedValue, _TEXT),
    3854: (UnsupportedValue, _TEXT),
    3988: (UnsupportedValue, _TEXT),
    3157: (UnsupportedValue, "A document is nested more deeply than MySQL can store."),
    1406: (UnsupportedValue, "A text is longer than its column allows."),
    1153: (UnsupportedValue, _PACKET),
    1162: (UnsupportedValue, _PACKET),
    1301: (UnsupportedValue, _PACKET),
    # Limits of tables.
    1059: (InvalidQuery, "A name in the statement is longer than the 64 characters that MySQL allows."),
    1069: (SchemaLimit, "MySQL allows no further index on this table."),
    1070: (SchemaLimit, "MySQL allows no further field in this index."),
    1071: (SchemaLimit, _KEY),
    1170: (SchemaLimit, _KEY),
    1117: (SchemaLimit, _WIDE),
    # Other transactions, and time.
    1020: (DatabaseBusy, "Another transaction changed the same rows at the same time; try again."),
    1412: (DatabaseBusy, "Another transaction changed the table at the same time; try again."),
    1213: (DatabaseBusy, "Two transactions waited for each other, and this one was taken back; try again."),
    1205: (DatabaseBusy, _LOCKED),
    3572: (DatabaseBusy, _LOCKED),
    1028: (QueryTimeout, None),
    1317: (QueryTimeout, None),
    1969: (QueryTimeout, None),
    3024: (QueryTimeout, None),
    # The server.
    1037: (Unavailable, _POOR),
    1038: (Unavailable, _POOR),
    1041: (Unavailable, _POOR),
    1135: (Unavailable, _POOR),
    1206: (Unavailable, _POOR),
    1040: (Unavailable, _CROWDED),
    1203: (Unavailable, _CROWDED),
    1226: (Unavailable, _CROWDED),
    1129: (Unavailable, "The database server refuses connections from here after too many that failed."),
    1130: (Unavailable, "The database server takes no connections from here."),
    1045: (Unavailable, _REFUSED),
    1251: (Unavailable, _REFUSED),
    1524: (Unavailable, _REFUSED),
    1698: (Unavailable, _REFUSED),
    1820: (Unavailable, "The database user has to choose a new password first."),
    1862: (Unavailable, "The database user has to choose a new password first."),
    3118: (Unavailable, "The database server has locked the user."),
    4151: (Unavailable, "The database server has locked the user."),
    1049: (Unavailable, "The database server has no database of this name."),
    3159: (Unavailable, "The database server takes connections with TLS only, which sslmode leaves out."),
    1044: (Unavailable, _NOT_ALLOWED),
    1095: (Unavailable, _NOT_ALLOWED),
    1142: (Unavailable, _NOT_ALLOWED),
    1143: (Unavailable, _NOT_ALLOWED),
    1227: (Unavailable, _NOT_ALLOWED),
    1370: (Unavailable, _NOT_ALLOWED),
    1410: (Unavailable, _NOT_ALLOWED),
    1419: (Unavailable, _NOT_ALLOWED),
}

FITS_NOT = frozenset({1264, 1265, 1292, 1365, 1366, 1367, 1411, 1441, 1690, 3140, 3141, 3144})
"""A value does not fit: a parameter of a write, or what a statement makes of it."""

FOREIGN_KEYS = frozenset({1216, 1217, 1451, 1452, 1761, 1762})
DUPLICATES = frozenset({1062, 1169, 1586, 1859})

TELLABLE = frozenset(
    {
        *(1050, 1052, 1055, 1056, 1060, 1061, 1063, 1066, 1068, 1072, 1075, 1091, 1093, 1101, 1109, 1110, 1111, 1113),
        *(1136, 1140, 1176, 1192, 1221, 1222, 1235, 1241, 1242, 1247, 1248, 1267, 1271, 1295, 1304, 1305, 1318, 1347),
        *(1356, 1359, 1360, 1426, 1427, 1439, 1442, 4161),
    }
)
"""Errors of which the server's text names tables, columns and functions, and no values."""
