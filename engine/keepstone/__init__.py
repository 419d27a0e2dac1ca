"""Keepstone: content-addressed, end-to-end encrypted backup.

    import keepstone

    credential = keepstone.password("correct horse battery staple")
    keepstone.init("/backup", credential)
    with keepstone.open("/backup", credential) as repository:
        repository.backup(keepstone.BackupOptions(sources=[b"/home/ana/messages"]))
        snapshot = repository.snapshot("latest")
        repository.restore(snapshot, keepstone.RestoreOptions(target=b"/tmp/back"))

General layout: words (`ids errors events clock`), bytes without places (`chunking hashing compression sealing
encoding`), places without secrets (`store`), the repository that joins them (`repo`), what there is to save and what it
means (`sources history`), and the verbs (`work`). Imports point down only. The names below are the public interface;
everything else may change tomorrow. The engine prints nothing: it returns values and reports events.

Old data: a repository written by any released version can be read by every later one.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from keepstone.errors import KeepstoneError
from keepstone.events import Event, FileDone, Listener, Notice, Problem, Progress
from keepstone.history.snapshot import Snapshot
from keepstone.repo.keys import Credential, digits_text, new_digits, parse_digits, password
from keepstone.sources.exclude import Exclusions
from keepstone.version import VERSION as __version__
from keepstone.work.ahead import ScanAhead
from keepstone.work.backup import BackupResult
from keepstone.work.client import Client, init
from keepstone.work.client import open_client as open
from keepstone.work.options import BackupOptions

if TYPE_CHECKING:
    from keepstone.views.choose import Choice
    from keepstone.views.export import Exported, ExportOptions, export
    from keepstone.views.media import MediaOptions, Medium, Taken, extract_media, list_media
    from keepstone.views.restore import ChatRestoreOptions, ChatRestoreResult, restore_chats
    from keepstone.work.archive import Origin
    from keepstone.work.check import CheckResult
    from keepstone.work.drill import DrillOptions, DrillResult
    from keepstone.work.explain import Explanation
    from keepstone.work.messages import Messages
    from keepstone.work.query import Change, Found, Listed, Stats
    from keepstone.work.restore import RestoreOptions, RestoreResult
    from keepstone.work.take_messages import Showing
    from keepstone.work.timeline import MessageChange, Moment

_LATER = {
    "Change": "keepstone.work.query",
    "ChatRestoreOptions": "keepstone.views.restore",
    "ChatRestoreResult": "keepstone.views.restore",
    "CheckResult": "keepstone.work.check",
    "Choice": "keepstone.views.choose",
    "DrillOptions": "keepstone.work.drill",
    "DrillResult": "keepstone.work.drill",
    "Explanation": "keepstone.work.explain",
    "ExportOptions": "keepstone.views.export",
    "Exported": "keepstone.views.export",
    "Found": "keepstone.work.query",
    "Listed": "keepstone.work.query",
    "MediaOptions": "keepstone.views.media",
    "Medium": "keepstone.views.media",
    "MessageChange": "keepstone.work.timeline",
    "Messages": "keepstone.work.messages",
    "Moment": "keepstone.work.timeline",
    "Origin": "keepstone.work.archive",
    "RestoreOptions": "keepstone.work.restore",
    "RestoreResult": "keepstone.work.restore",
    "Showing": "keepstone.work.take_messages",
    "Stats": "keepstone.work.query",
    "Taken": "keepstone.views.media",
    "export": "keepstone.views.export",
    "extract_media": "keepstone.views.media",
    "list_media": "keepstone.views.media",
    "restore_chats": "keepstone.views.restore",
}
"""Names whose modules are loaded when they are first asked for: most runs need none of them."""


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'keepstone' has no attribute {name!r}")
    value: object = getattr(import_module(_LATER[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "BackupOptions",
    "BackupResult",
    "Change",
    "ChatRestoreOptions",
    "ChatRestoreResult",
    "CheckResult",
    "Choice",
    "Client",
    "Credential",
    "DrillOptions",
    "DrillResult",
    "Event",
    "Exclusions",
    "Explanation",
    "ExportOptions",
    "Exported",
    "FileDone",
    "Found",
    "KeepstoneError",
    "Listed",
    "Listener",
    "MediaOptions",
    "Medium",
    "MessageChange",
    "Messages",
    "Moment",
    "Notice",
    "Origin",
    "Problem",
    "Progress",
    "RestoreOptions",
    "RestoreResult",
    "ScanAhead",
    "Showing",
    "Snapshot",
    "Stats",
    "Taken",
    "__version__",
    "digits_text",
    "export",
    "extract_media",
    "init",
    "list_media",
    "new_digits",
    "open",
    "parse_digits",
    "password",
    "restore_chats",
]
