"""Reading somebody's files in a process apart: what damages the reader damages nothing else.

Databases and other binary formats are read by large native libraries, and the files come from anywhere. So a reader
runs in a child process with limits on memory, time and files. The child has no key, no repository and none of this
process's environment; it sees its folder by asking for parts of files over one socket, and answers with records.
It recognises files too, so no other process gives somebody's file to a native library.
Whatever it does, dying, hanging or sending nonsense, becomes an `UnreadableSource` here.

Both sides speak in turn, so neither needs a thread: the child sends records or asks, and waits only for what it asked.
A part is a length (u32), a letter, and MessagePack.
"""

from __future__ import annotations

import io
import os
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import BinaryIO, Final, cast

import msgspec

from keepstone.errors import KeepstoneError
from keepstone.messages.model import Call, Conversation, Item, Loss, Message
from keepstone.sources.reading import Copies, Folder, Options, Reader, UnreadableSource

MAX_PART: Final = 64 * 1024 * 1024
MAX_READ: Final = 4 * 1024 * 1024
"""What is asked for at once of a file that is read on. The child waits for it, and so does nothing meanwhile."""
FIRST_READ: Final = 1024 * 1024
"""Of a file that may not be read on."""
BATCH: Final = 512
"""Records in one part; they are of one kind."""
BATCH_BYTES: Final = 1024 * 1024

_HEAD = struct.Struct("<IB")
_NAMES, _SIZE, _READ, _ITEMS, _END, _FAILED, _ANSWER, _MISSING, _KNOWN = b"nsridfamk"
_KINDS: tuple[type[Item], ...] = (Conversation, Message, Call, Loss)
_NUMBERS = {kind: number for number, kind in enumerate(_KINDS)}
_encoder = msgspec.msgpack.Encoder()
_decoders = tuple(msgspec.msgpack.Decoder(list[kind]) for kind in _KINDS)  # type: ignore[valid-type]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use."""

    memory: int = 1536 * 1024 * 1024
    """Bytes of address space; a Python with its libraries takes about 200 MB of it."""
    processor: int = 3600
    """Seconds of processor time."""
    silence: float = 300.0
    """Seconds that it may say nothing."""


class Apart:
    """A child process that recognises and reads one file after another. A context manager; its end ends the child.

    A child that died, said nonsense, was given up amid a file, or has used much of what it may use is replaced before
    the next file: `limits` bound what any single file can make it take.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._folder: Folder | None = None
        self.started = 0
        """Children that there were."""

    def __enter__(self) -> Apart:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; the next file has one of its own."""
        if self._connection is not None:
            self._connection.close()
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._connection = self._child = self._folder = None

    def recognise(self, name: str, folder: Folder) -> Reader | None:
        """Return the reader that knows a file; see `readers.reader_for`.

        Raises:
            UnreadableSource: the child ended over it.
        """
        from keepstone.sources.readers import MODULES, readers

        told = list(self._run("", name, folder, Options()))  # To its end, or the child is taken for given up.
        return next((readers()[MODULES.index(found)] for found in told if found in MODULES), None)

    def read(self, reader: Reader, name: str, folder: Folder, options: Options) -> Iterator[Item]:
        """Yield what `reader.read` yields.

        Args:
            reader: a module; the child imports it by its name.

        Raises:
            UnreadableSource: nothing, or nothing more, can be read; what was yielded before holds.
        """
        for item in self._run(cast(str, vars(reader)["__name__"]), name, folder, options):
            if not isinstance(item, str):
                yield item

    def _run(self, module: str, name: str, folder: Folder, options: Options) -> Iterator[Item | str]:
        ended = False
        try:
            connection = self._connected()
            _send(connection, _ANSWER, (module, name, options, folder.scratch, folder is self._folder))
            self._folder = folder
            spent = yield from _listen(connection, folder)
            ended = not spent
        except _Refused as error:
            ended = not error.spent
            raise UnreadableSource(error.message) from error
        except (OSError, EOFError, msgspec.MsgspecError, struct.error, IndexError) as error:
            raise UnreadableSource(f"The reader of {name!r} ended before it had read it all.") from error
        finally:
            if not ended:
                self.close()

    def _connected(self) -> socket.socket:
        if self._connection is None:
            ours, theirs = socket.socketpair()
            with theirs:
                self._connection = ours
                self._child = subprocess.Popen(
                    [sys.executable, "-c", _PROGRAM], stdin=theirs.fileno(), stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, env=_environment(), close_fds=True,
                )  # fmt: skip
            self.started += 1
            ours.settimeout(self._limits.silence)
            _send(ours, _ANSWER, self._limits)
        return self._connection


class _Refused(Exception):
    """A reader says that it cannot read a file; its process is well."""

    def __init__(self, message: str, spent: bool) -> None:
        super().__init__(message)
        self.message, self.spent = message, spent


def read_apart(
    reader: Reader, name: str, folder: Folder, options: Options, limits: Limits | None = None
) -> Iterator[Item]:
    """Yield what `reader.read` yields, read in a child process of its own: see `Apart.read`."""
    with Apart(limits) as child:
        yield from child.read(reader, name, folder, options)


def _environment() -> dict[str, str]:
    """Return what a child needs to find its modules, and nothing more."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TMPDIR", "HOME") if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONDONTWRITEBYTECODE": "1"}


def _listen(connection: socket.socket, folder: Folder) -> Generator[Item | str, None, bool]:
    """Answer what the child asks, yield what it found, and return whether it has used much of what it may use."""
    files: dict[str, BinaryIO] = {}
    try:
        while True:
            kind, body = _receive(connection)
            if kind == _ITEMS:
                number, items = msgspec.msgpack.decode(body, type=tuple[int, msgspec.Raw])
                yield from _decoders[number].decode(items)
            elif kind == _KNOWN:
                yield msgspec.msgpack.decode(body, type=str)
            elif kind == _END:
                return msgspec.msgpack.decode(body, type=bool)
            elif kind == _FAILED:
                raise _Refused(*msgspec.msgpack.decode(body, type=tuple[str, bool]))
            else:
                _answer(connection, folder, files, kind, body)
    finally:
        for file in files.values():
            file.close()


def _answer(connection: socket.socket, folder: Folder, files: dict[str, BinaryIO], kind: int, body: bytes) -> None:
    try:
        answer: object
        if kind == _NAMES:
            answer = [os.fsencode(name) for name in folder.names()]
        elif kind == _SIZE:
            answer = folder.size(os.fsdecode(msgspec.msgpack.decode(body, type=bytes)))
        elif kind == _READ:
            encoded, offset, length = msgspec.msgpack.decode(body, type=tuple[bytes, int, int])
            answer = _part(folder, files, os.fsdecode(encoded), offset, min(length, MAX_READ))
        else:
            raise EOFError
    except FileNotFoundError as error:
        _send(connection, _MISSING, str(error))
    except UnreadableSource as error:  # A damaged part of an archive: the reader is told, and may go on beside it.
        _send(connection, _FAILED, error.message)
    else:
        _send(connection, _ANSWER, answer)


def _part(folder: Folder, files: dict[str, BinaryIO], name: str, offset: int, length: int) -> bytes:
    file = files.get(name)
    if file is None:
        if len(files) >= 8:
            files.pop(next(iter(files))).close()
        file = files[name] = folder.open(name)
    if file.tell() != offset:
        file.seek(offset)
    return file.read(length)


def _send(connection: socket.socket, kind: int, value: object) -> None:
    body = _encoder.encode(value)
    connection.sendall(_HEAD.pack(len(body), kind) + body)


def _receive(connection: socket.socket) -> tuple[int, bytes]:
    length, kind = _HEAD.unpack(_exactly(connection, _HEAD.size))
    if length > MAX_PART:
        raise EOFError
    return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray(length)
    view = memoryview(data)
    while view:
        read = connection.recv_into(view)
        if not read:
            raise EOFError
        view = view[read:]
    return bytes(data)


# The child -------------------------------------------------------------------------------------------------

_PROGRAM = "from keepstone.sources.apart import serve; serve()"


def serve() -> None:
    """Be the child: read what the other end of standard input says, file after file, until it closes."""
    connection = socket.socket(fileno=os.dup(0))
    limits = msgspec.msgpack.decode(_receive(connection)[1], type=Limits)
    _confine(limits)
    folder: _RemoteFolder | None = None
    while True:
        try:
            task = _receive(connection)[1]
        except EOFError:
            return
        module, name, options, scratch, same = msgspec.msgpack.decode(task, type=tuple[str, str, Options, str, bool])
        if folder is None or not same:
            if folder is not None:
                folder.copies.close()
            folder = _RemoteFolder(connection, scratch)
        folder.copies.keep_for(name)
        try:
            _serve_one(connection, module, name, options, folder)
        except KeepstoneError as error:
            _send(connection, _FAILED, (str(error), _spent(limits)))
        except MemoryError:
            text = f"The file {name!r} takes more memory to read than a reader is given."
            _send(connection, _FAILED, (text, True))
        else:
            _send(connection, _END, _spent(limits))


def _serve_one(connection: socket.socket, module: str, name: str, options: Options, folder: _RemoteFolder) -> None:
    if module:
        _send_items(connection, cast(Reader, import_module(module)).read(name, folder, options))
        return
    from keepstone.sources.readers import MODULES, reader_for, readers

    if (reader := reader_for(name, folder)) is not None:
        _send(connection, _KNOWN, MODULES[readers().index(reader)])


def _spent(limits: Limits) -> bool:
    """Return whether what this process has used would be missed by the next file."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime > limits.processor / 8 or _peak() > limits.memory / 4


def _peak() -> int:
    """Return the most memory that this process has used, in bytes."""
    with suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    # Second choice, because Linux counts here what the parent used before it made this process.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _confine(limits: Limits) -> None:
    for what, limit in (
        (resource.RLIMIT_AS, limits.memory), (resource.RLIMIT_CPU, limits.processor), (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):  # fmt: skip
        _, hard = resource.getrlimit(what)
        wanted = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        with suppress(OSError, ValueError):  # A system that does not know a limit does not have it.
            resource.setrlimit(what, (wanted, wanted))


def _send_items(connection: socket.socket, items: Iterable[Item]) -> None:
    batch: list[msgspec.Raw] = []
    kind: type[Item] = Message
    size = 0
    for item in items:
        if len(batch) >= BATCH or size >= BATCH_BYTES or type(item) is not kind:
            _send(connection, _ITEMS, (_NUMBERS[kind], batch))
            batch, size, kind = [], 0, type(item)
        encoded = _encoder.encode(item)
        batch.append(msgspec.Raw(encoded))
        size += len(encoded)
    _send(connection, _ITEMS, (_NUMBERS[kind], batch))


class _RemoteFolder:
    """The parent's folder, seen from the child."""

    def __init__(self, connection: socket.socket, scratch: str) -> None:
        self._connection = connection
        self._names: list[str] | None = None
        self.scratch = scratch
        self.copies = Copies()

    def names(self) -> Sequence[str]:
        if self._names is None:
            encoded = msgspec.msgpack.decode(self._ask(_NAMES, None), type=list[bytes])
            self._names = [os.fsdecode(name) for name in encoded]
        return self._names

    def size(self, name: str) -> int:
        return msgspec.msgpack.decode(self._ask(_SIZE, os.fsencode(name)), type=int)

    def open(self, name: str) -> BinaryIO:
        return cast(BinaryIO, io.BufferedReader(_RemoteFile(self, name, self.size(name)), FIRST_READ))

    def part(self, name: str, offset: int, length: int) -> bytes:
        return msgspec.msgpack.decode(self._ask(_READ, (os.fsencode(name), offset, length)), type=bytes)

    def _ask(self, kind: int, value: object) -> bytes:
        _send(self._connection, kind, value)
        answer, body = _receive(self._connection)
        if answer == _MISSING:
            raise FileNotFoundError(msgspec.msgpack.decode(body, type=str))
        if answer == _FAILED:
            raise UnreadableSource(msgspec.msgpack.decode(body, type=str))
        return body


class _RemoteFile(io.RawIOBase):
    def __init__(self, folder: _RemoteFolder, name: str, size: int) -> None:
        super().__init__()
        self._folder, self._name, self._size, self._at = folder, name, size, 0
        self._part, self._start = b"", 0
        """What was read last, and where it stands."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + (0, self._at, self._size)[whence])
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer)).cast("B")
        end = self._start + len(self._part)
        if not self._start <= self._at < end and self._at < self._size:
            length = MAX_READ if self._part and self._at == end else min(len(view), MAX_READ)
            self._part, self._start = self._folder.part(self._name, self._at, length), self._at
        past = self._at - self._start
        data = memoryview(self._part)[past : past + len(view)] if past >= 0 else memoryview(b"")
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
