"""A program that holds a lock on a file from another process: PATH STATEMENT [TABLE]. It lets go when told to."""

import sys

import apsw

from tests.faults.children import emit

if __name__ == "__main__":
    connection = apsw.Connection(sys.argv[1])
    connection.set_busy_timeout(10_000)
    connection.execute(sys.argv[2])
    connection.execute(f"SELECT count(*) FROM {[*sys.argv, 'items'][3]}").fetchall()
    emit(held=True)
    sys.stdin.readline()
    if connection.in_transaction:
        connection.execute("COMMIT")
    connection.close()
    emit(released=True)
