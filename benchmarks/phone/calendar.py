"""The phone's clock: milliseconds since 1970 and the forms in which its programs write them. It lives in UTC."""

from __future__ import annotations

import time

DAY = 86_400_000
BIRTH = 1_546_300_800_000
"""The first day of a history: 2019-01-01."""
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def parts(moment: int) -> time.struct_time:
    return time.gmtime(moment // 1000)


def date(moment: int) -> str:
    """Return YYYYMMDD."""
    return time.strftime("%Y%m%d", parts(moment))


def clock(moment: int) -> str:
    """Return HHMMSS."""
    return time.strftime("%H%M%S", parts(moment))


def week(moment: int) -> str:
    """Return year and week, as the folders of voice notes are called."""
    return time.strftime("%G%V", parts(moment))


def readable(moment: int) -> str:
    """Return a date as people read it, in English whatever the machine speaks."""
    when = parts(moment)
    return f"{_MONTHS[when.tm_mon - 1]} {when.tm_mday}, {when.tm_year} {time.strftime('%H:%M:%S', when)}"


def month_day(moment: int) -> str:
    """Return the time as an exported chat has it."""
    when = parts(moment)
    return f"{when.tm_mday:02}/{when.tm_mon:02}/{when.tm_year}, {when.tm_hour:02}:{when.tm_min:02}"
