"""WhatsApp's database as it lives: a transaction for every burst of messages, rows that change for days, the night.

A day's messages land at the end of `message` and of its text index, but anywhere in the indexes by chat and by key;
receipts, edits and deletions go back to earlier days, and auto_vacuum moves pages when something is deleted. That is
why so few new bytes touch so many pages. The history before the first day is made by the same code with larger
transactions, and no journal.
"""

from __future__ import annotations

import base64
import random
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from . import media, text
from .calendar import DAY
from .media import DOCUMENT, PHOTO, STICKER, VIDEO, VOICE, Kind
from .people import OWN_JID, Chat, People
from .schema import TABLES, statements

Row = tuple[object, ...]
Filed = tuple[str, int, str]
"""A media file: path below the phone's folder, size, digest."""
Filing = Callable[[random.Random, Kind, int, bool], Filed]
"""Files new media: kind, time (ms), sent or received."""

_COLUMNS = {
    "message": "_id chat_row_id from_me key_id sender_jid_row_id status broadcast recipient_count origination_flags"
    " origin timestamp received_timestamp receipt_server_timestamp message_type text_data starred lookup_tables"
    " message_add_on_flags sort_id",
    "message_media": "message_row_id chat_row_id autotransfer_retry_enabled media_job_uuid transferred transcoded"
    " file_path file_size suspicious_content trim_from trim_to face_x face_y media_key media_key_timestamp width height"
    " has_streaming_sidecar gif_attribution thumbnail_height_width_ratio direct_path first_scan_length message_url"
    " mime_type file_length media_name file_hash media_duration page_count enc_file_hash is_animated_sticker",
    "message_quoted": "message_row_id chat_row_id parent_message_chat_row_id from_me sender_jid_row_id key_id timestamp"
    " message_type origin text_data lookup_tables",
    "message_text": "message_row_id description page_title url preview_type",
    "message_ftsv2": "docid content fts_jid fts_namespace",
}
_ORDER = (*TABLES, "message_ftsv2")
_INSERTS = {
    table: f"insert into {table} ({', '.join(columns.split())}) values ({', '.join('?' * len(columns.split()))})"
    for table, columns in _COLUMNS.items()
}


def _insert(table: str, row: Row) -> str:
    """Return the statement for a row; a row of a table without chosen columns has them all."""
    if table not in _INSERTS:
        _INSERTS[table] = f"insert into {table} values ({', '.join('?' * len(row))})"
    return _INSERTS[table]


class MessageStore:
    """The database of one phone; open it for a day, close it at night."""

    def __init__(self, path: Path, seed: int, people: People, filing: Filing) -> None:
        self.path, self.seed, self.people, self.filing = path, seed, people, filing
        self.new: dict[str, list[Row]] = defaultdict(list)
        """Rows of the next transaction, by table."""
        self.changes: dict[str, list[Row]] = defaultdict(list)
        """Its updates, by statement."""
        self.last: dict[int, tuple[str, int, int | None, int, str | None]] = {}
        """Of each chat, the key, sender, time and text of its last message: what a reply quotes."""
        self.next = 1
        self.db: sqlite3.Connection

    @contextmanager
    def opened(self, *, building: bool = False) -> Iterator[None]:
        """Open the database for a day; building it takes no journal and more memory."""
        self.db = sqlite3.connect(self.path, isolation_level=None)
        try:
            self.db.execute("pragma page_size=4096")
            self.db.execute("pragma auto_vacuum=full")
            self.db.execute(f"pragma journal_mode={'off' if building else 'wal'}")
            # Nothing is lost if this machine stops: a phone can be made again from its seed.
            self.db.execute("pragma synchronous=off")
            self.db.execute(f"pragma cache_size=-{65536 if building else 16384}")
            if building:
                self.db.execute("pragma locking_mode=exclusive")
                self._create()
            self._remember()
            yield
            if not building:
                self.db.execute("pragma wal_checkpoint(truncate)")
        finally:
            self.db.close()

    def _remember(self) -> None:
        """Learn from the database where it stood, so that a life does not depend on how often it was interrupted."""
        self.next = 1 + int(self.db.execute("select seq from sqlite_sequence where name='message'").fetchone()[0])
        self.last.clear()
        newest = (
            "select key_id, from_me, sender_jid_row_id, timestamp, text_data from message"
            " where chat_row_id=? order by _id desc limit 1"
        )
        for chat in self.people.chats:
            if told := self.db.execute(newest, (chat.row,)).fetchone():
                self.last[chat.row] = told

    def pages(self) -> int:
        return int(self.db.execute("pragma page_count").fetchone()[0])

    def vacuum(self) -> None:
        self.db.execute("vacuum")  # By way of a temporary file: in memory it would take as much as the database.

    def _create(self) -> None:
        for statement in statements():
            self.db.execute(statement)
        self.db.execute("pragma user_version=1")
        self.db.execute("begin")
        jids = [(OWN_JID, "447700900123", "s.whatsapp.net", 0, 0, 0, "447700900123@s.whatsapp.net")]
        jids.append((2, "status", "broadcast", 0, 0, 5, "status@broadcast"))
        jids += [(c.row, c.number, "s.whatsapp.net", 0, 0, 0, c.jid) for c in self.people.contacts]
        groups = [chat for chat in self.people.chats if chat.is_group]
        jids += [(g.jid_row, g.jid.partition("@")[0], "g.us", 0, 0, 1, g.jid) for g in groups]
        self.db.executemany("insert into jid values (?,?,?,?,?,?,?)", jids)
        self.db.executemany(
            "insert into chat (_id, jid_row_id, hidden, subject, archived, group_type, unseen_message_count)"
            " values (?,?,0,?,0,?,0)",
            [(chat.row, chat.jid_row, chat.subject, int(chat.is_group)) for chat in self.people.chats],
        )
        members = [(g.jid_row, member.row) for g in groups for member in g.members]
        self.db.executemany("insert into group_participant_user values (null,?,?,0,0)", members)
        # Row 1 is a sentinel on every phone.
        self.db.execute("insert into message (_id, chat_row_id, from_me, key_id) values (1,-1,0,'-1')")
        self.db.execute("commit")

    def live(self, rng: random.Random, start: int, messages: int, *, commit_every: int = 1) -> None:
        """Live a day that starts at `start` (ms): so many messages, in bursts, and what happens to older ones."""
        times = sorted(start + int(DAY * (0.28 + 0.7 * rng.betavariate(2.2, 1.6))) for _ in range(messages))
        bursts, told = 0, 0
        while told < messages:
            length = min(messages - told, 1 + int(rng.expovariate(0.45)))
            chat = self.people.chat(rng)
            for number in range(length):
                self._message(rng, chat, times[told] + number * 7000)
                told += 1
            self._touch_chat(chat, times[told - 1])
            bursts += 1
            if bursts % commit_every == 0:
                self._commit()
        self._commit()
        for _ in range(rng.randint(0, 9)):
            self._call(rng, start + rng.randrange(DAY))
        self._commit()

    def _commit(self) -> None:
        self.db.execute("begin")
        for table in _ORDER:  # Not as they came: which page is whose must not depend on how long this object lives.
            if rows := self.new[table]:
                self.db.executemany(_insert(table, rows[0]), rows)
                rows.clear()
        for statement, rows in self.changes.items():
            self.db.executemany(statement, rows)
        self.changes.clear()
        self.db.execute("commit")

    def _touch_chat(self, chat: Chat, time: int) -> None:
        last = self.next - 1
        self.changes[_CHAT_UPDATE].append((last, last, last, time, last, last, chat.row))

    def _message(self, rng: random.Random, chat: Chat, time: int) -> None:
        row, self.next = self.next, self.next + 1
        from_me = int(rng.random() < (0.25 if chat.is_group else 0.46))
        sender = rng.choice(chat.members) if chat.is_group and not from_me else None
        key = rng.randbytes(16 if from_me or rng.random() < 0.6 else 10).hex().upper()
        kind = rng.choices(media.KINDS, media.SHARES)[0] if rng.random() < 0.125 else None
        said: str | None = None
        if kind is None or (kind in (PHOTO, VIDEO) and rng.random() < 0.22):
            said = chat.language.sentence(rng)
        if kind is None and rng.random() < 0.03:
            said = self._link(rng, chat, row, said or "")
        if kind is not None:
            self._media(rng, chat, row, kind, time, bool(from_me))
        if (told := self.last.get(chat.row)) and rng.random() < 0.09:
            quoted = told[4][:200] if told[4] else None
            self.new["message_quoted"].append(
                (row, chat.row, chat.row, told[1], told[2], told[0], told[3], 0, 0, quoted, 0)
            )
        status = self._receipts(rng, chat, row, time, kind) if from_me else 0
        forwarded = rng.random() < 0.025
        if forwarded:
            self.new["message_forwarded"].append((row, rng.choice((1, 1, 1, 2, 5))))
        sender_row = sender.row if sender else 0 if chat.is_group and from_me else None
        self.new["message"].append(
            (row, chat.row, from_me, key, sender_row, status, 0, len(chat.members) if chat.is_group else 0,
             int(forwarded), 0, time, time + rng.randint(200, 4000), time + 300 if from_me else -1,
             kind.message_type if kind else 0, said, 0, 0, 0, row)
        )  # fmt: skip
        if said:
            self.new["message_ftsv2"].append((row, _searchable(said, chat), str(chat.jid_row), "0"))
        if chat.is_group and rng.random() < 0.04:
            self.new["message_mentions"].append((None, row, rng.choice(chat.members).row))
        if rng.random() < 0.11:
            self._reaction(rng, chat, row, time)
        self.last[chat.row] = (key, from_me, sender_row, time, said)

    def _link(self, rng: random.Random, chat: Chat, row: int, said: str) -> str:
        address = text.link(rng)
        title, about = chat.language.say(rng, 6), chat.language.say(rng, 15)
        self.new["message_text"].append((row, about, title, address, 0))
        self.new["message_link"].append((None, chat.row, row, 0))
        self.new["message_thumbnail"].append((row, _thumbnail(rng, 1500)))
        return f"{said} {address}"

    def _media(self, rng: random.Random, chat: Chat, row: int, kind: Kind, time: int, sent: bool) -> None:
        path, size, digest = self.filing(rng, kind, time, sent)
        job = rng.randbytes(16).hex()
        seconds = size // 2200 if kind is VOICE else size // 180_000 if kind is VIDEO else 0
        wide, high = rng.choice(((1200, 1600), (1600, 1200), (720, 1280), (1080, 2400)))
        token = text.letters(rng, 60)
        direct = f"/v/t62.7118-24/{rng.randrange(10**8)}_{rng.randrange(10**15)}_n.enc?ccb=11-4&oh={token}&oe={time:X}"
        name = f"{chat.language.say(rng, 2)}{kind.suffix}" if kind is DOCUMENT else None
        self.new["message_media"].append(
            (row, chat.row, 0, f"{job[:8]}-{job[8:12]}-{job[12:16]}-{job[16:20]}-{job[20:]}", 1, 0, path, size, 0, 0, 0,
             0, 0, rng.randbytes(32), time // 1000, wide, high, 0, 0, high / wide, direct, 0,
             f"https://mmg.whatsapp.net{direct}&mms3=true", kind.mime, size, name, digest, seconds,
             rng.randint(1, 30) if kind is DOCUMENT else 0, _digest(rng), 0)
        )  # fmt: skip
        if kind is VOICE:
            self.new["audio_data"].append((row, bytes(rng.choices(range(100), k=64))))
        elif kind is not STICKER:
            self.new["message_thumbnail"].append((row, _thumbnail(rng, 1100)))

    def _receipts(self, rng: random.Random, chat: Chat, row: int, time: int, kind: Kind | None) -> int:
        """Add what is known the same day of who got and read a message; return its status."""
        reached = rng.choices((13, 5, 4), (70, 22, 8))[0]
        for member in chat.members:
            got = reached > 4 or rng.random() < 0.3
            if not got:
                continue
            read = time + rng.randint(2000, 3_000_000) if reached == 13 or rng.random() < 0.3 else None
            played = read if kind is VOICE else None
            self.new["receipt_user"].append((None, row, member.row, time + rng.randint(300, 9000), read, played))
            if rng.random() < 0.5 or not chat.is_group:
                self.new["receipt_device"].append((None, row, member.row, time + rng.randint(300, 9000), 0))
        return reached

    def _reaction(self, rng: random.Random, chat: Chat, row: int, time: int) -> None:
        """React to one of the last messages of the phone; most are in the same chat, which is all that is drawn."""
        who, when = rng.choice(chat.members).row, time + rng.randint(2000, 900_000)
        number = row  # One reaction a message at most, so the message's row serves.
        key = rng.randbytes(16).hex().upper()
        self.new["message_add_on"].append((number, chat.row, 0, key, who, row, when, 0, 56))
        self.new["message_add_on_reaction"].append((number, text.emoji(rng)[0], when))
        self.changes["update message set message_add_on_flags=1 where _id=?"].append((row,))

    def _call(self, rng: random.Random, time: int) -> None:
        chat = self.people.chat(rng)
        result = rng.choice((5, 5, 5, 2, 4))
        seconds = int(rng.lognormvariate(4.5, 1.2)) if result == 5 else 0
        call = (None, chat.members[0].row, rng.randint(0, 1), rng.randbytes(16).hex().upper(), -1, time)
        self.new["call_log"].append((*call, 0, seconds, result, seconds * 6000, 0, 0, 0, None))

    def look_back(self, rng: random.Random, start: int, back: int) -> list[str]:
        """Change the last `back` messages as a day does: late receipts, edits, stars, deletions. Return lost media."""
        first = max(2, self.next - back)
        waiting = self.db.execute(
            "select _id, chat_row_id from message where _id >= ? and from_me=1 and status in (4, 5)", (first,)
        ).fetchall()
        for row, chat_row in waiting:
            if rng.random() < 0.6:
                self._late_receipt(rng, row, self.people.chats[chat_row - 1], start + rng.randrange(DAY))
                if rng.random() < 0.2:
                    self._commit()
        self._commit()
        recent = self.db.execute(
            "select _id, chat_row_id, from_me, key_id, message_type, text_data from message where _id >= ?", (first,)
        ).fetchall()
        lost: list[str] = []
        for row, chat_row, _, key, kind, said in rng.sample(recent, len(recent) // 60):
            chat, time = self.people.chats[chat_row - 1], start + rng.randrange(DAY)
            what = rng.random()
            if what < 0.35 and said and kind == 0:
                self._edit(rng, row, chat, key, time)
            elif what < 0.6:
                lost += self._revoke(row, key)
            elif what < 0.75:
                self.changes["update message set starred=1 where _id=?"].append((row,))
            elif what < 0.9:
                lost += self._delete(row)
            self._commit()
        if rng.random() < 0.03:
            lost += self._clear(rng.choice(self.people.chats))
        return lost

    def _clear(self, chat: Chat) -> list[str]:
        """Delete the oldest messages of a chat, all at once."""
        oldest = "select _id from message where chat_row_id=? order by _id limit 300"
        rows = self.db.execute(oldest, (chat.row,)).fetchall()
        self.db.execute("begin")
        lost = [path for (row,) in rows for path in self._delete(row)]
        self.db.execute("commit")
        return lost

    def _late_receipt(self, rng: random.Random, row: int, chat: Chat, time: int) -> None:
        self.changes["update message set status=13 where _id=?"].append((row,))
        change = "update receipt_user set read_timestamp=? where message_row_id=? and receipt_user_jid_row_id=?"
        known = {who for (who,) in self.db.execute(
            "select receipt_user_jid_row_id from receipt_user where message_row_id=?", (row,))}  # fmt: skip
        for member in chat.members:
            if member.row in known:
                self.changes[change].append((time, row, member.row))
            elif rng.random() < 0.7:
                self.new["receipt_user"].append((None, row, member.row, time - 60_000, time, None))

    def _edit(self, rng: random.Random, row: int, chat: Chat, key: str, time: int) -> None:
        said = chat.language.sentence(rng)
        self.changes["update message set text_data=? where _id=?"].append((said, row))
        self.changes["update message_ftsv2 set content=? where docid=?"].append((_searchable(said, chat), row))
        self.db.execute("insert or replace into message_edit_info values (?,?,?,?)", (row, key, time, time))

    def _revoke(self, row: int, key: str) -> list[str]:
        lost = self._forget(row)
        self.db.execute("update message set message_type=15, text_data=null where _id=?", (row,))
        self.db.execute("insert or ignore into message_revoked values (?,?,null)", (row, key))
        return lost

    def _delete(self, row: int) -> list[str]:
        lost = self._forget(row)
        for table in ("receipt_user", "receipt_device", "message_quoted", "message_mentions", "message_forwarded"):
            self.db.execute(f"delete from {table} where message_row_id=?", (row,))
        self.db.execute("delete from message_add_on_reaction where message_add_on_row_id=?", (row,))
        self.db.execute("delete from message_add_on where parent_message_row_id=?", (row,))
        self.db.execute("delete from message where _id=?", (row,))
        return lost

    def _forget(self, row: int) -> list[str]:
        """Remove what a message carries; return the paths of its media."""
        lost = [path for (path,) in self.db.execute(
            "select file_path from message_media where message_row_id=? and file_path not null", (row,))]  # fmt: skip
        self.db.execute("delete from message_ftsv2 where docid=?", (row,))
        for table in ("message_media", "message_thumbnail", "message_text", "message_link", "audio_data"):
            self.db.execute(f"delete from {table} where message_row_id=?", (row,))
        return lost


_CHAT_UPDATE = (
    "update chat set display_message_row_id=?, last_message_row_id=?, last_read_message_row_id=?, sort_timestamp=?,"
    " display_message_sort_id=?, last_message_sort_id=? where _id=?"
)


def _searchable(said: str, chat: Chat) -> str:
    """Return the words of a text as the search index gets them."""
    return " ".join(said) if not chat.language.separator else said.lower()


def _thumbnail(rng: random.Random, mean: int) -> bytes:
    return b"\xff\xd8\xff\xdb" + rng.randbytes(int(mean * rng.uniform(0.5, 1.5)))


def _digest(rng: random.Random) -> str:
    return base64.b64encode(rng.randbytes(32)).decode()
