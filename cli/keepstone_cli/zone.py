"""This computer's time zone, as it was and will be at any time: summer has another offset than winter."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1).toordinal()


class Here(tzinfo):
    """What this computer's clock shows. Where the system cannot tell, as in the year 1, it is the winter's offset."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        usual = timedelta(seconds=-time.timezone)
        if moment is None:
            return usual
        try:
            offset = _steady(moment.toordinal() - _EPOCH)
            return offset if offset is not None else moment.replace(tzinfo=None).astimezone().utcoffset() or usual
        except (OverflowError, ValueError, OSError):
            return usual

    def dst(self, moment: datetime | None) -> None:
        return None

    def tzname(self, moment: datetime | None) -> str:
        return "" if moment is None else f"{moment:%z}"

    def fromutc(self, moment: datetime) -> datetime:
        try:
            offset = _steady(moment.toordinal() - _EPOCH)
            if offset is not None:
                return moment + offset
            local = moment.replace(tzinfo=UTC).astimezone()
            shown = local.replace(tzinfo=self)
            # In autumn an hour is there twice.
            return shown if shown.utcoffset() == local.utcoffset() else shown.replace(fold=1)
        except (OverflowError, ValueError, OSError):
            return moment + self.utcoffset(None)


@lru_cache(maxsize=4096)
def _steady(day: int) -> timedelta | None:
    """Return the offset around a day, by its number; None if it changes there. It is asked for every message."""
    before, after = (time.localtime(number * 86_400).tm_gmtoff for number in (day - 1, day + 2))
    return timedelta(seconds=before) if before == after else None
