"""Times are shown as the clock of this computer showed them, in summer and in winter."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from keepstone.views.chat import time_of
from keepstone.views.choose import parse_day
from keepstone_cli import zone

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[zone.Here]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", BERLIN)
        time.tzset()
        zone._steady.cache_clear()
        yield zone.Here()
    time.tzset()
    zone._steady.cache_clear()


def test_a_time_in_summer_has_summers_offset_on_any_day(here: zone.Here) -> None:
    assert f"{time_of(1_720_000_000_000, here):%H:%M %z}" == "11:46 +0200"
    assert f"{time_of(1_710_000_000_000, here):%H:%M %z}" == "17:00 +0100"
    assert parse_day("2024-07-03", here) == 1_719_957_600_000
    assert parse_day("2024-03-31", here, after=True) - parse_day("2024-03-31", here) == 23 * 3_600_000


def test_every_time_is_what_the_tables_of_zones_say(here: zone.Here) -> None:
    berlin, rng = ZoneInfo("Europe/Berlin"), random.Random(1)
    autumn = datetime(2024, 10, 27, tzinfo=UTC)
    moments = [autumn + timedelta(minutes=number) for number in range(240)]
    moments += [autumn + timedelta(seconds=rng.uniform(-8e8, 3e8)) for _ in range(2000)]
    for moment in moments:
        shown, wanted = moment.astimezone(here), moment.astimezone(berlin)
        assert (shown.isoformat(), shown.fold) == (wanted.isoformat(), wanted.fold)
        assert shown.timestamp() == moment.timestamp()


def test_the_ends_of_the_calendar_are_no_crash(here: zone.Here) -> None:
    for time_ms in (-(10**17), 10**17):
        assert time_of(time_ms, here).year in (1, 9999)
