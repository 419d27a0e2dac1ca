"""A reader that does what its file says: for tests of reading in a process apart."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import BinaryIO

from keepstone.messages.model import Attachment, Conversation, Item, Loss, Message
from keepstone.sources.reading import Folder, Options, UnreadableSource

NAME = "hostile"


def recognises(name: str, head: bytes, folder: Folder) -> bool:
    return False


def read(name: str, folder: Folder, options: Options) -> Iterator[Item]:
    with folder.open(name) as file:
        orders = file.read().decode().split()
    yield Conversation(service="sms", key="1")
    for order in orders:
        if order == "loss":
            yield Loss(what="one is lost", records=1)
        elif order == "unreadable":
            raise UnreadableSource("It says no.")
        elif order == "error":
            raise ZeroDivisionError
        elif order == "kill":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif order == "memory":
            bytearray(1 << 40)
        elif order == "hang":
            signal.pause()
        elif order == "nonsense":
            os.write(0, b"\xff" * 100)
        elif order == "environment":
            yield Loss(what=" ".join(sorted(os.environ)))
        elif order == "process":
            yield Loss(what=str(os.getpid()))
        elif order == "work":
            sum(range(20_000_000))
        elif order == "large":
            bytearray(b"x") * 500_000_000
        elif order == "absent":
            try:
                folder.open("../secret")
            except FileNotFoundError:
                yield Loss(what="absent")
        elif order == "others":
            for other in folder.names():
                with folder.open(other) as file:
                    size = len(file.read())
                    file.seek(size // 2)
                    yield Loss(what=f"{other} {size} {file.read(3)!r}", records=folder.size(other))
        else:
            for number in range(int(order)):
                yield Message(identity=number.to_bytes(16, "big"), service="sms", chat="1", time_ms=number, text="é\0")


def open_attachment(name: str, folder: Folder, attachment: Attachment) -> BinaryIO | None:
    return None
