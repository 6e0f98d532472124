"""A program that holds a lock on a file from another process: PATH STATEMENT. It lets go when told to."""

import sys

import apsw

from tests.faults.children import emit

if __name__ == "__main__":
    connection = apsw.Connection(sys.argv[1])
    connection.execute(sys.argv[2])
    connection.execute("SELECT count(*) FROM items").fetchall()
    emit(held=True)
    sys.stdin.readline()
    if connection.in_transaction:
        connection.execute("COMMIT")
    connection.close()
    emit(released=True)
