"""What all tests share: clean settings, cheap keys, and a folder tree to back up."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell; what the tests start and interrupt would ignore it as well.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests reaches them."""
    for name in list(os.environ):
        if name.startswith(("KEEPSTONE_", "XDG_")) and name not in ("KEEPSTONE_FIXTURES", "KEEPSTONE_CHUNKER_KERNEL"):
            monkeypatch.delenv(name)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small folder with some of everything."""
    from support import make_source

    return make_source(tmp_path / "source")
