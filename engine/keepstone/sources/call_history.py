"""The calls of an iPhone or Mac: `CallHistory.storedata`, a Core Data store.

It holds calls by telephone and FaceTime, and those that other programs tell the system of. Times count from 2001.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from keepstone.messages import services
from keepstone.messages.identity import chat_of_addresses
from keepstone.messages.model import Call, CallOutcome, Extra, Item, Person
from keepstone.sources.exports import time_of
from keepstone.sources.reading import columns, tables

_SINCE_MS: Final = 978_307_200_000
_VIDEO: Final = 8
_COLUMNS: Final = (
    "Z_PK", "ZUNIQUE_ID", "ZDATE", "ZDURATION", "ZADDRESS", "ZNAME", "ZORIGINATED", "ZANSWERED", "ZCALLTYPE",
    "ZSERVICE_PROVIDER", "ZDISCONNECTED_CAUSE", "ZISO_COUNTRY_CODE", "ZLOCATION", "ZREAD", "ZFILTERED_OUT_REASON",
    "ZVERIFICATION_STATUS", "ZJUNKCONFIDENCE",
)  # fmt: skip
_EXTRA: Final = (
    "ZCALLTYPE", "ZSERVICE_PROVIDER", "ZDISCONNECTED_CAUSE", "ZISO_COUNTRY_CODE", "ZLOCATION", "ZFILTERED_OUT_REASON",
    "ZVERIFICATION_STATUS", "ZJUNKCONFIDENCE",
)  # fmt: skip


def read_calls(database: sqlite3.Connection) -> Iterator[Item]:
    """Yield the calls of an open store."""
    known = columns(database, "ZCALLRECORD")
    chosen = ", ".join(column if column in known else f"NULL AS {column}" for column in _COLUMNS)
    others = _participants(database)
    for row in database.execute(f"SELECT {chosen} FROM ZCALLRECORD ORDER BY Z_PK"):
        yield _call(row, others.get(row["Z_PK"], []))


def _participants(database: sqlite3.Connection) -> dict[object, list[str]]:
    """Return whom calls of several were with; the numbers in Core Data's names differ between versions."""
    found: dict[object, list[str]] = {}
    join = next((table for table in sorted(tables(database)) if table.endswith("REMOTEPARTICIPANTHANDLES")), None)
    if join is None or not {"Z_PK", "ZVALUE"} <= columns(database, "ZHANDLE"):
        return found
    names = sorted(columns(database, join))
    call = next((name for name in names if name.endswith("CALLS")), None)
    handle = next((name for name in names if name.endswith("HANDLES")), None)
    if call is None or handle is None:
        return found
    query = f'SELECT j."{call}", h.ZVALUE FROM "{join}" AS j JOIN ZHANDLE AS h ON h.Z_PK = j."{handle}"'
    for number, value in database.execute(query):
        if isinstance(value, str) and value:
            found.setdefault(number, []).append(value)
    return found


def _call(row: sqlite3.Row, others: list[str]) -> Call:
    said = row["ZADDRESS"]
    address = said.decode("utf-8", "replace") if isinstance(said, bytes) else said if isinstance(said, str) else ""
    date, length = row["ZDATE"], row["ZDURATION"]
    time_ms = time_of(int(date * 1000) + _SINCE_MS) if isinstance(date, int | float) and abs(date) < 1e12 else 0
    seconds = int(length) if isinstance(length, int | float) and 0 < length < 1e9 else 0
    mine, answered = bool(row["ZORIGINATED"]), bool(row["ZANSWERED"])
    outcome: CallOutcome = "answered" if answered or (mine and seconds) else "cancelled" if mine else "missed"
    name = row["ZNAME"] if isinstance(row["ZNAME"], str) else ""
    people = {other: Person(address=other) for other in others}
    if address:
        people[address] = Person(address=address, name=name)
    native = row["ZUNIQUE_ID"] if isinstance(row["ZUNIQUE_ID"], str) else ""
    chat = chat_of_addresses(people)
    extra: Extra = {key: value for key in _EXTRA if (value := row[key]) and not isinstance(value, bytes)}
    return Call(
        identity=services.call("phone", "", native or f"{chat} {'out' if mine else 'in'} {time_ms}"),
        service="phone", chat=chat, native=native, time_ms=time_ms, seconds=seconds, direction="out" if mine else "in",
        outcome=outcome, video=row["ZCALLTYPE"] == _VIDEO, people=tuple(people[key] for key in sorted(people)),
        extra=extra,
    )  # fmt: skip
