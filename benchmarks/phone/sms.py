"""SMS Backup & Restore: every day one file with everything again, and another with the calls.

No message is kept anywhere: those of a day follow from the seed and the day, so a dump is made by living all days
again. A few are deleted later, codes above all. Photos sent by MMS lie in the camera's folder as well.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from . import media
from .calendar import DAY, clock, date, readable
from .media import MMS_PHOTO
from .people import Contact, People

_HEAD = (
    "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>\n"
    '<?xml-stylesheet type="text/xsl" href="{kind}.xsl"?>\n'
    '<{root} count="{count}" backup_set="{set}" backup_date="{date}" type="full">\n'
)
_SERVICES = ("BANK", "PARCEL", "VERIFY", "CLINIC", "SHOP24")


@dataclass(frozen=True, slots=True)
class Sms:
    address: str
    name: str
    time: int
    received: bool
    body: str


@dataclass(frozen=True, slots=True)
class Mms:
    """A photo with a text; its bytes are those of the file `label` names."""

    contact: Contact
    time: int
    received: bool
    body: str
    label: str
    size: int
    number: int


@dataclass(frozen=True, slots=True)
class Call:
    contact: Contact
    time: int
    seconds: int
    kind: int


class Messages:
    """All SMS, MMS and calls of a seed: those of `first` to the day asked for (ms at its start)."""

    def __init__(self, seed: int, people: People, first: int) -> None:
        self.seed, self.people, self.first = seed, people, first

    def _days(self, what: str, today: int) -> Iterator[tuple[int, random.Random]]:
        for start in range(self.first, today + 1, DAY):
            yield start, random.Random(f"{self.seed}/{what}/{start}")

    def sms(self, today: int) -> Iterator[Sms]:
        """Yield the SMS that are on the phone at the end of that day, the oldest first."""
        for start, rng in self._days("sms", today):
            for time in sorted(start + rng.randrange(DAY) for _ in range(rng.randint(3, 20))):
                contact = self.people.chat(rng).members[0]
                is_code = rng.random() < 0.4
                until = start + rng.randint(3, 40) * DAY if rng.random() < (0.3 if is_code else 0.02) else None
                if is_code:
                    service, code = rng.choice(_SERVICES), rng.randrange(10**6)
                    about = contact.language.say(random.Random(f"{self.seed}/{service}"), 9)
                    message = Sms(service, "(Unknown)", time, True, f"{code:06}: {about} {rng.randrange(100)}")
                else:
                    said = contact.language.sentence(rng)
                    message = Sms(f"+{contact.number}", contact.name, time, rng.random() < 0.6, said)
                if until is None or until > today:
                    yield message

    def mms(self, today: int) -> Iterator[Mms]:
        number = 0
        for start, rng in self._days("mms", today):
            for time in sorted(start + rng.randrange(DAY) for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))):
                number += 1
                contact, label = self.people.chat(rng).members[0], f"mms/{time}"
                said = contact.language.sentence(rng)
                yield Mms(contact, time, rng.random() < 0.5, said, label, MMS_PHOTO.size(rng), number)

    def calls(self, today: int) -> Iterator[Call]:
        for start, rng in self._days("calls", today):
            for time in sorted(start + rng.randrange(DAY) for _ in range(rng.randint(0, 7))):
                kind = rng.choice((1, 1, 2, 2, 3, 5))
                seconds = int(rng.lognormvariate(4.3, 1.2)) if kind < 3 else 0
                yield Call(self.people.chat(rng).members[0], time, seconds, kind)

    def photos(self, first: int, today: int) -> Iterator[tuple[str, Mms]]:
        """Yield the name and message of each photo of the days from `first` to `today`."""
        for message in self.mms(today):
            if message.time >= first:
                yield f"{MMS_PHOTO.folder}/{_photo(message.time)}", message

    def dump(self, folder: Path, today: int, now: int) -> None:
        """Write both files of a night."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"sms-{_stamp(now)}.xml"
        count = sum(1 for _ in self.sms(today)) + sum(1 for _ in self.mms(today))
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(self._head("sms", "smses", count, now))
            for short in self.sms(today):
                file.write(_sms(short))
            for long in self.mms(today):
                self._mms(file, long)
            file.write("</smses>")
        media.stamp(path, now)
        path = folder / f"calls-{_stamp(now)}.xml"
        with path.open("w", encoding="utf-8", newline="") as file:
            file.write(self._head("calls", "calls", sum(1 for _ in self.calls(today)), now))
            for call in self.calls(today):
                file.write(_call(call))
            file.write("</calls>")
        media.stamp(path, now)

    def _head(self, kind: str, root: str, count: int, now: int) -> str:
        digits = random.Random(f"{self.seed}/backup_set").randbytes(16).hex()
        name = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        return _HEAD.format(kind=kind, root=root, count=count, set=name, date=now)

    def _mms(self, file: TextIO, message: Mms) -> None:
        number, name = message.number, _photo(message.time)
        file.write(
            f'  <mms date="{message.time}" rr="129" sub="null" ct_t="application/vnd.wap.multipart.related"'
            f' read_status="null" seen="1" msg_box="{1 if message.received else 2}" address="+{message.contact.number}"'
            f' sub_cs="null" resp_st="null" retr_st="null" d_tm="null" text_only="0" exp="null" locked="0"'
            f' m_id="{message.time:x}@mms" st="null" retr_txt_cs="null" retr_txt="null" creator="com.example.messaging"'
            f' date_sent="{message.time // 1000}" read="1" m_size="{message.size}" rpt_a="null" ct_cls="null" pri="129"'
            f' sub_id="1" tr_id="T{number:x}" resp_txt="null" ct_l="null" m_cls="personal" d_rpt="129" v="18"'
            f' _id="{number}" m_type="{132 if message.received else 128}" readable_date="{readable(message.time)}"'
            f' contact_name="{escape(message.contact.name)}">\n    <parts>\n'
        )
        smil = f'<smil><body><par dur="5000ms"><img src="{name}"/><text src="text.txt"/></par></body></smil>'
        file.write(_part(-1, "application/smil", "smil.xml", smil) + "/>\n")
        file.write(_part(0, "image/jpeg", name, None) + ' data="')
        for piece in media.content(self.seed, message.label, MMS_PHOTO, message.size):
            file.write(base64.b64encode(piece).decode())
        file.write('" />\n' + _part(0, "text/plain", "text.txt", message.body) + "/>\n    </parts>\n    <addrs>\n")
        ends = (137, 151) if message.received else (151, 137)
        for address, kind in zip((f"+{message.contact.number}", "insert-address-token"), ends, strict=True):
            file.write(f'      <addr address="{address}" type="{kind}" charset="106" />\n')
        file.write("    </addrs>\n  </mms>\n")


def _sms(message: Sms) -> str:
    sent = message.time - 1000 if message.received else 0
    return (
        f'  <sms protocol="0" address="{message.address}" date="{message.time}" type="{1 if message.received else 2}"'
        f' subject="null" body="{escape(message.body)}" toa="null" sc_toa="null" service_center="null" read="1"'
        f' status="-1" locked="0" date_sent="{sent}" sub_id="1" readable_date="{readable(message.time)}"'
        f' contact_name="{escape(message.name)}" />\n'
    )


def _call(call: Call) -> str:
    return (
        f'  <call number="+{call.contact.number}" duration="{call.seconds}" date="{call.time}" type="{call.kind}"'
        f' presentation="1" subscription_id="1" post_dial_digits="" subscription_component_name="null"'
        f' readable_date="{readable(call.time)}" contact_name="{escape(call.contact.name)}" />\n'
    )


def _part(sequence: int, kind: str, name: str, text: str | None) -> str:
    said = "null" if text is None else escape(text)
    return (
        f'      <part seq="{sequence}" ct="{kind}" name="{name}" chset="{"106" if text else "null"}" cd="null"'
        f' fn="null" cid="&lt;{name}&gt;" cl="{name}" ctt_s="null" ctt_t="null" text="{said}" sub_id="1"'
    )


def escape(said: str) -> str:
    """Return a text as it stands in an attribute. Unlike the app, emoji stay UTF-8: its own form is not legal XML."""
    for sign, reference in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("\n", "&#10;")):
        said = said.replace(sign, reference)
    return said


def _stamp(time: int) -> str:
    return date(time) + clock(time)


def _photo(time: int) -> str:
    return f"IMG_{date(time)}_{clock(time)}.jpg"
