"""What a backup is asked to do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from keepstone.history.content import Reader
from keepstone.sources.exclude import Exclusions


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """What to back up, and how."""

    sources: Sequence[bytes]
    """Absolute paths."""
    tags: Sequence[str] = ()
    host: str = ""
    exclusions: Exclusions | None = None
    exclude_caches: bool = False
    one_file_system: bool = False
    dry_run: bool = False
    force: bool = False
    """Read everything again, whatever looks unchanged."""
    messages: bool = True
    """Take the messages in what is new into the message archive."""
    level: int = 3
    stream: Reader | None = None
    """If given, its bytes are stored as the file `sources[0]`, and nothing else is read."""

    def entered(self, path: bytes, subfolders: Iterable[tuple[bytes, int]], device: int) -> list[bytes]:
        """Return which sub-folders of a folder are entered.

        Args:
            subfolders: their names and devices.
            device: the device of the source they are in.
        """
        names = [name for name, on in subfolders if on == device or not self.one_file_system]
        if self.exclusions is None:
            return names
        prefix = path if path != b"/" else b""
        return [name for name in names if not self.exclusions.excluded(prefix + b"/" + name, True)]
