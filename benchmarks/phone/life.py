"""A phone that lives day by day in a folder, and is the same phone for the same seed.

What is drawn on a day follows from the seed and the day, never from how the life was interrupted: what the phone has
to remember stands in its own files, and in a small one beside the folder, with the keys. A day ends with what phones do
at night: the database is closed, and the backups of the programs are written.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
from dataclasses import dataclass
from pathlib import Path

from . import container, documents, media, signal, signal_folder
from .calendar import BIRTH, DAY, clock, date, week
from .media import CAMERA, PHOTO, VIDEO, VOICE, Kind
from .people import People
from .sms import Messages
from .whatsapp import MessageStore

PARTS = ("crypt15", "media", "sms", "signal", "documents")
MORE_PARTS = ("signal-folder",)
"""Parts that are written only if they are asked for."""
BYTES_PER_MESSAGE = 725
"""About what a message takes in the database with its indexes; only dates and media depend on it."""
MEDIA_PER_MESSAGE = 25_000
"""About what the media of a message take, over all messages."""
SMALLEST = 250_000
"""Bytes of a database; its empty tables and indexes take about that much."""
_NIGHT = DAY - 3_600_000
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def parse_size(said: str | int) -> int:
    """Return bytes of a size such as 80MB."""
    text = str(said).upper().replace(" ", "")
    digits = text.rstrip("KMGB")
    try:
        return int(float(digits) * _UNITS[text[len(digits) :]])
    except (KeyError, ValueError):
        raise ValueError(f"{said!r} is not a size. Write it as 500KB, 80MB or 4GB.") from None


@dataclass(frozen=True, slots=True)
class Habits:
    """What kind of phone it is."""

    seed: int = 1
    size: int = 80_000_000
    """Bytes of the database when the life begins."""
    media: int = 160_000_000
    """Bytes of media when it begins."""
    parts: tuple[str, ...] = PARTS
    least: int = 400
    most: int = 1500
    """Messages a day."""
    vacuum: tuple[int, int] | None = (30, 45)
    """Days from one VACUUM to the next, at least and at most."""
    zlib_level: int = 1
    kept_crypts: int = 0
    """Encrypted databases of earlier nights that stay, under their dates; a real phone keeps seven."""
    kept_dumps: int = 3
    """Dumps of SMS that stay; older ones are deleted."""
    signal_every: int = 7
    """Days from one Signal backup to the next; two stay."""
    key_beside: bool = False
    """Whether `encrypted_backup.key` lies beside the database, too."""

    def __post_init__(self) -> None:
        if self.size < SMALLEST:
            raise ValueError(f"A phone has at least {SMALLEST // 1000} KB of messages, not {self.size} bytes.")
        if not 0 < self.least <= self.most:
            raise ValueError(f"{self.least}-{self.most} messages a day: give the smaller number first, at least 1.")
        if self.vacuum is not None and not 0 < self.vacuum[0] <= self.vacuum[1]:
            raise ValueError("Days from one VACUUM to the next: give the smaller number first, at least 1.")
        if not 0 <= self.zlib_level <= 9 or min(self.kept_dumps, self.signal_every) < 1 or self.kept_crypts < 0:
            raise ValueError("zlib has the levels 0 to 9; at least one dump stays; Signal's backups are a day apart.")


@dataclass(frozen=True, slots=True)
class Today:
    """What a day did."""

    number: int
    date: str
    messages: int
    vacuumed: bool


class Phone:
    """A phone in a folder. The first time it is made with a past; later it goes on where it stood.

    It is remembered between days: a phone that is cut off within one is not the same any more.
    """

    def __init__(self, folder: Path | str, habits: Habits | None = None) -> None:
        self.folder = Path(folder)
        self.memory = self.folder.with_name(self.folder.name + ".phone")
        life = self.memory / "life.json"
        is_new = not life.exists()
        if is_new:
            self.habits, self.day, self.start = habits or Habits(), 0, BIRTH
        else:
            kept = json.loads(life.read_text())
            self.habits, self.day, self.start = _habits(kept["habits"]), int(kept["day"]), int(kept["start"])
            if habits is not None and habits != self.habits:
                raise ValueError(f"The phone in {self.folder} has other habits. Leave them out to let it go on.")
        self.people = People(self.habits.seed, max(30, min(600, self.habits.size // 350_000)))
        self.messages = MessageStore(self.database, self.habits.seed, self.people, self._file)
        self._files_kept = "media" in self.habits.parts
        self._wake()
        if is_new:
            self._grow_up()
        self.sms = Messages(self.habits.seed, self.people, self.start - self._past_days() * DAY)
        if is_new:
            self._begin()

    @property
    def database(self) -> Path:
        return self.folder / "Databases" / "msgstore.db"

    @property
    def root_key(self) -> bytes:
        return random.Random(f"{self.habits.seed}/root key").randbytes(32)

    @property
    def passphrase(self) -> str:
        """The 30 digits of Signal's backup."""
        return f"{random.Random(f'{self.habits.seed}/passphrase').randrange(10**30):030}"

    def live(self, days: int = 1) -> list[Today]:
        """Live on for some days; return what they did."""
        return [self._live_a_day() for _ in range(days)]

    def _live_a_day(self) -> Today:
        start, habits = self.start + self.day * DAY, self.habits
        rng = random.Random(f"{habits.seed}/day/{self.day}")
        number, vacuums = rng.randint(habits.least, habits.most), self._vacuums()
        self._wake()
        with self.messages.opened():
            self.messages.live(rng, start, number)
            for path in self.messages.look_back(rng, start, 3 * habits.most):
                (self.folder / path).unlink(missing_ok=True)
            if vacuums:
                self.messages.vacuum()
        media.stamp(self.database, start + _NIGHT)
        if self._files_kept:
            self._camera(rng, start, rng.randint(0, 5))
            self._statuses(start)
            self._tidy(start)
        self._night(start)
        self.day += 1
        self._remember()
        return Today(self.day, date(start), number, vacuums)

    def _night(self, start: int) -> None:
        """Write the backups that are due."""
        habits, now = self.habits, start + _NIGHT
        if "crypt15" in habits.parts:
            self._encrypt(start, now)
        if "sms" in habits.parts:
            self._photos_of_mms(start, start)
            self.sms.dump(self.folder / "SMSBackupRestore", start, now)
            _keep(self.folder / "SMSBackupRestore", "sms-*.xml", habits.kept_dumps)
            _keep(self.folder / "SMSBackupRestore", "calls-*.xml", habits.kept_dumps)
        if "signal" in habits.parts and self.day % habits.signal_every == 0:
            when = f"{date(now)}-{clock(now)}"
            path = (
                self.folder / "Signal" / f"signal-{when[:4]}-{when[4:6]}-{when[6:11]}-{when[11:13]}-{when[13:]}.backup"
            )
            signal.backup(path, habits.seed, self.people, self.sms.first, start, now, self.passphrase)
            _keep(path.parent, "*.backup", 2)
        if "signal-folder" in habits.parts:
            signal_folder.backup(self.folder / "SignalBackups", habits.seed, self.people, self.sms.first, start, now)
        if "documents" in habits.parts:
            for number, version in documents.due(habits.seed, self.day):
                path = self.folder / "Documents" / f"Document {number + 1}.docx"
                documents.write(path, habits.seed, self.people, number, version, now)
            if self.day % 14 == 10:
                chat = documents.busiest(self.people, habits.seed, self.day)
                documents.export_chat(self.folder / "Download", self.database, self.folder, chat, now)

    def _encrypt(self, start: int, now: int) -> None:
        """Write the database as `crypt15`; that of the night before stays for some days under its date."""
        target = self.database.with_suffix(".db.crypt15")
        if self.habits.kept_crypts and target.exists():
            day = date(start - DAY)
            os.replace(target, target.with_name(f"msgstore-{day[:4]}-{day[4:6]}-{day[6:]}.1.db.crypt15"))
            _keep(target.parent, "msgstore-*.crypt15", self.habits.kept_crypts)
        # Fresh in every file: no two nights of a phone are the same.
        iv = random.Random(f"{self.habits.seed}/iv/{now}").randbytes(16)
        container.write(self.database, target, self.root_key, iv, self.habits.zlib_level)
        media.stamp(target, now)

    def _grow_up(self) -> None:
        """Make the past: days of messages until the database has its size, with a VACUUM half a period earlier.

        A life therefore begins between two of them, with tables and indexes neither packed nor wholly mixed.
        """
        habits, day = self.habits, 0
        self.database.parent.mkdir(parents=True, exist_ok=True)
        self.memory.mkdir(parents=True, exist_ok=True)
        self.database.unlink(missing_ok=True)
        expected = habits.size // BYTES_PER_MESSAGE
        usual = (habits.least + habits.most) // 2
        rate = max(usual, expected // (5 * 365))
        since = 0 if habits.vacuum is None else sum(habits.vacuum) // 4 * rate * BYTES_PER_MESSAGE
        vacuum_at = habits.size - min(since, habits.size // 7)
        on_card = habits.media * 6 // 10 // MEDIA_PER_MESSAGE * BYTES_PER_MESSAGE
        with self.messages.opened(building=True):
            while (grown := self.messages.pages() * 4096) < habits.size:
                if grown >= vacuum_at:
                    self.messages.vacuum()
                    vacuum_at = habits.size
                    continue
                rng = random.Random(f"{habits.seed}/past/{day}")
                self._wake(on_card=habits.size - grown <= on_card)
                count = min(rate, max(20, (habits.size - grown) // BYTES_PER_MESSAGE))
                self.messages.live(rng, BIRTH + day * DAY, count, commit_every=24)
                day += 1
        with self.messages.opened():
            self.messages.db.execute("pragma journal_mode=wal")
        self.start = BIRTH + day * DAY
        media.stamp(self.database, self.start)

    def _begin(self) -> None:
        """Fill the rest of the card, put the keys aside, and remember that the life has begun."""
        habits, days = self.habits, self._past_days()
        if self._files_kept:
            photos = habits.media * 35 // 100 // CAMERA.median
            for day in range(days):
                share = photos * (day + 1) // days - photos * day // days
                rng = random.Random(f"{habits.seed}/camera/{day}")
                self._camera(rng, self.start - (days - day) * DAY, share)
        if "sms" in habits.parts:
            self._photos_of_mms(self.sms.first, self.start - DAY)
        (self.memory / "encrypted_backup.key").write_bytes(container.key_file(self.root_key))
        (self.memory / "root-key.txt").write_text(self.root_key.hex() + "\n")
        (self.memory / "signal-passphrase.txt").write_text(self.passphrase + "\n")
        if "signal-folder" in habits.parts:
            (self.memory / "signal-recovery-key.txt").write_text(signal_folder.recovery_key(habits.seed) + "\n")
        if habits.key_beside:
            (self.database.parent / "encrypted_backup.key").write_bytes(container.key_file(self.root_key))
        self._remember()

    def _past_days(self) -> int:
        """Return for how many days before the life SMS, Signal and the camera were used: a year for 80 MB."""
        return max(5, min(5 * 365, self.habits.size * 365 // 80_000_000))

    def _remember(self) -> None:
        kept = {"habits": dataclasses.asdict(self.habits), "day": self.day, "start": self.start}
        new = self.memory / "life.json.new"
        new.write_text(json.dumps(kept, indent=1) + "\n")
        os.replace(new, self.memory / "life.json")

    def _vacuums(self) -> bool:
        if self.habits.vacuum is None:
            return False
        rng, due = random.Random(f"{self.habits.seed}/vacuum"), -1
        while due < self.day:
            due += rng.randint(*self.habits.vacuum)
        return due == self.day

    def _wake(self, *, on_card: bool = True) -> None:
        """Begin a day with nothing filed; of media long gone only what the database says is made."""
        self._names: dict[str, int] = {}
        self._photos: list[tuple[str, int]] = []
        self._on_card = on_card

    def _file(self, rng: random.Random, kind: Kind, time: int, sent: bool) -> tuple[str, int, str]:
        """File new media. A photo that is sent may be one that came today: the same bytes under another name."""
        size, again = kind.size(rng), rng.random() < 0.12
        today = date(time)
        number = self._names[today] = self._names.get(today, -1) + 1
        below = f"/{week(time)}" if kind is VOICE else "/Sent" if sent else ""
        path = f"Media/{kind.folder}{below}/{kind.prefix}-{today}-WA{number:04}{kind.suffix}"
        label = f"whatsapp/{today}/{number}"
        if not self._on_card:
            return path, size, media.digest(iter((label.encode(),)))
        if again and sent and kind is PHOTO and self._photos:
            label, size = rng.choice(self._photos)
        pieces = media.content(self.habits.seed, label, kind, size)
        digest = media.write(self.folder / path, pieces, time) if self._files_kept else media.digest(pieces)
        if kind is PHOTO and not sent:
            self._photos.append((label, size))
        return path, size, digest

    def _camera(self, rng: random.Random, start: int, count: int) -> None:
        for number in range(count):
            time = start + rng.randrange(DAY // 4, DAY) // 1000 * 1000
            path = self.folder / CAMERA.folder / f"IMG_{date(time)}_{clock(time)}_{number}.jpg"
            media.write(path, media.content(self.habits.seed, f"camera/{time}", CAMERA, CAMERA.size(rng)), time)

    def _photos_of_mms(self, first: int, last: int) -> None:
        for name, message in self.sms.photos(first, last):
            pieces = media.content(self.habits.seed, message.label, media.MMS_PHOTO, message.size)
            media.write(self.folder / name, pieces, message.time)

    def _statuses(self, start: int) -> None:
        """Take in the day's status photos; those of the day before have expired."""
        folder = self.folder / "Media" / ".Statuses"
        for path in sorted(folder.glob("*")):
            path.unlink()
        rng = random.Random(f"{self.habits.seed}/statuses/{start}")
        for number in range(rng.randint(2, 12)):
            kind = rng.choice((PHOTO, PHOTO, VIDEO))
            path = folder / (rng.randbytes(16).hex() + kind.suffix)
            pieces = media.content(self.habits.seed, f"status/{start}/{number}", kind, kind.size(rng))
            media.write(path, pieces, start + number * 1_000_000)

    def _tidy(self, start: int) -> None:
        """Delete some videos and some photos of the camera that are a month old."""
        rng = random.Random(f"{self.habits.seed}/tidy/{start}")
        old = date(start - 30 * DAY)
        aims = ((f"Media/{VIDEO.folder}", f"*-{old}-*", 0.35), (CAMERA.folder, f"*_{old}_*_*", 0.1))
        for folder, pattern, share in aims:
            for path in sorted((self.folder / folder).rglob(pattern)):
                if rng.random() < share:
                    path.unlink()


def _keep(folder: Path, pattern: str, count: int) -> None:
    """Delete all but the newest files; their names order them."""
    for path in sorted(folder.glob(pattern))[: -count or None]:
        path.unlink()


def _habits(kept: dict[str, object]) -> Habits:
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in kept.items()}
    return Habits(**values)  # type: ignore[arg-type]  # They were written from a Habits.
