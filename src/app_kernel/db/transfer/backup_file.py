"""The file of a backup: frames, each with a checksum, and at the end one over all of them.

    APPKERNELBACKUP1\\n
    frame*   = kind (1 byte) · length (4 bytes) · payload · SHA-256 of kind, length and payload (first 16 bytes)

The payload of a frame is compressed (zlib). `H` holds what the database had; then for each table `T` (its name), `R*`
(rows, as JSON) and `E` (how many, and their digest); last `Z`: the SHA-256 of everything before it. Whoever reads
checks all of that before anything is done with a row.
"""

import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import orjson

from app_kernel.core.errors import BackupCorrupted, TransferError

MAGIC = b"APPKERNELBACKUP1\n"
FORMAT = 1
HEADER, TABLE, ROWS, TABLE_END, END = b"H", b"T", b"R", b"E", b"Z"
_KINDS = frozenset({HEADER, TABLE, ROWS, TABLE_END, END})
_LEVEL = 3
"""Of compression: a third of the time of the usual one, for a tenth more bytes."""
_LENGTH_BYTES = 4
_CHECK_BYTES = 16
_CHUNK = 1 << 20
_LONGEST = 1 << 31
"""Bytes of a payload, before and after compression: what is longer was not written here."""


class BackupWriter:
    """Writes a file beside its name, and gives it its name once it is whole and on the disk."""

    def __init__(self, path: Path, *, force: bool) -> None:
        self._path = path
        self._force = force
        self._beside = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._whole = hashlib.sha256(MAGIC)
        self._file: IO[bytes] | None = None
        self.bytes = len(MAGIC)

    def __enter__(self) -> Self:
        if self._path.exists() and not self._force:
            raise TransferError(f"{self._path} exists already; choose another name, or --force to replace it.")
        try:
            # Whoever may read it has the hashes of all passwords.
            descriptor = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        except OSError as exc:
            raise TransferError(f"{self._path} cannot be written: {exc.strerror}.") from exc
        self._file = os.fdopen(descriptor, "wb")
        self._file.write(MAGIC)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is None:
            return
        try:
            if exc is None:
                self._frame(END, self._whole.hexdigest().encode())
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError as failed:
            raise TransferError(f"{self._path} cannot be written: {failed.strerror}.") from failed
        finally:
            self._file.close()
            if exc is not None:
                self._beside.unlink(missing_ok=True)
        if exc is None:
            put_in_place(self._beside, self._path, force=self._force)

    def add(self, kind: bytes, payload: bytes) -> None:
        """Writes one frame; raises TransferError when the disk is full."""
        try:
            self._frame(kind, payload)
        except OSError as exc:
            raise TransferError(f"{self._path} cannot be written: {exc.strerror}.") from exc

    def _frame(self, kind: bytes, payload: bytes) -> None:
        if self._file is None:
            raise TransferError("The backup is not open.")
        packed = zlib.compress(payload, _LEVEL)
        head = kind + len(packed).to_bytes(_LENGTH_BYTES, "big")
        frame = head + packed + _check(head, packed)
        self._file.write(frame)
        self._whole.update(frame)
        self.bytes += len(frame)


def put_in_place(beside: Path, path: Path, *, force: bool) -> None:
    """Gives a finished file its name, and makes that last; with no `force`, only where there is none of that name."""
    try:
        if force:
            beside.replace(path)
        else:
            # A name that somebody took meanwhile is not taken from them.
            os.link(beside, path)
            beside.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        beside.unlink(missing_ok=True)
        raise TransferError(f"{path} exists already; choose another name, or --force to replace it.") from None
    except OSError as exc:
        raise TransferError(f"{path} cannot be written: {exc.strerror}.") from exc


class BackupReader:
    """Reads a file that `check` has found whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def check(self) -> str:
        """Looks at every byte; the file's own checksum, by which it is known. Raises BackupCorrupted."""
        whole = hashlib.sha256(MAGIC)
        last = b""
        for kind, packed, frame in self._frames():
            if last == END:
                raise self._corrupted("something follows its end")
            if kind == END:
                told = self._unpack(packed)
                if told != whole.hexdigest().encode():
                    raise self._corrupted("its checksum is another one")
            elif (last == b"") != (kind == HEADER):
                raise self._corrupted("it does not begin as a backup does")
            for part in frame:
                whole.update(part)
            last = kind
        if last != END:
            raise self._corrupted("its end is missing: it was cut, or is still being written")
        return whole.hexdigest()

    def header(self) -> dict[str, Any]:
        """What the first frame holds; raises BackupCorrupted, and TransferError for a later format."""
        for kind, packed, _ in self._frames():
            if kind != HEADER:
                break
            header = self._json(packed)
            if not isinstance(header, dict) or "format" not in header:
                break
            if header["format"] != FORMAT:
                raise TransferError(
                    f"{self._path} was made by a newer version of app_kernel; use that one to restore it."
                )
            return header
        raise self._corrupted("it does not begin as a backup does")

    def frames(self) -> Iterator[tuple[bytes, bytes]]:
        """kind, payload: everything between the header and the end."""
        for kind, packed, _ in self._frames():
            if kind not in (HEADER, END):
                yield kind, self._unpack(packed)

    def _frames(self) -> Iterator[tuple[bytes, bytes, tuple[bytes, ...]]]:
        """kind, compressed payload, all bytes: of every frame, its checksum looked at."""
        try:
            with self._path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise self._corrupted("it is no backup of app_kernel")
                while head := file.read(1 + _LENGTH_BYTES):
                    length = int.from_bytes(head[1:], "big")
                    if head[:1] not in _KINDS or len(head) < 1 + _LENGTH_BYTES or length > _LONGEST:
                        raise self._corrupted("a part of it is damaged")
                    packed, check = _read(file, length), file.read(_CHECK_BYTES)
                    if len(packed) < length or check != _check(head, packed):
                        raise self._corrupted("a part of it is damaged or missing")
                    yield head[:1], packed, (head, packed, check)
        except OSError as exc:
            raise TransferError(f"{self._path} cannot be read: {exc.strerror}.") from exc

    def _unpack(self, packed: bytes) -> bytes:
        try:
            unpacker = zlib.decompressobj()
            payload = unpacker.decompress(packed, _LONGEST)
        except zlib.error as exc:
            raise self._corrupted("a part of it is damaged") from exc
        if not unpacker.eof:
            raise self._corrupted("a part of it is damaged")
        return payload

    def _json(self, packed: bytes) -> Any:
        try:
            return orjson.loads(self._unpack(packed))
        except orjson.JSONDecodeError as exc:
            raise self._corrupted("a part of it is damaged") from exc

    def _corrupted(self, why: str) -> BackupCorrupted:
        return BackupCorrupted(f"{self._path} is no whole backup: {why}. Nothing was restored from it.")


def _read(file: IO[bytes], length: int) -> bytes:
    """So many bytes, or as many as there are: a wrong length does not ask for memory that nobody has."""
    parts = []
    while length > 0 and (part := file.read(min(length, _CHUNK))):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def _check(head: bytes, packed: bytes) -> bytes:
    return hashlib.sha256(head + packed).digest()[:_CHECK_BYTES]
