"""What is left out of a backup: patterns, exclude files, and tagged caches.

A pattern without a slash is matched against the name alone, one with a leading slash against the whole path, any other
against the last components of the path. `*`, `?` and `[...]` stay within a component, `**` stands for any number of
components (none, too), a trailing slash means folders only, `!` takes back what an earlier pattern left out. The last
pattern that matches decides. `\\` makes the next byte literal.

A folder that is left out is not entered, so nothing below it can be taken back.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from keepstone.errors import UsageError
from keepstone.sources.metadata import printable

CACHE_TAG_NAME = b"CACHEDIR.TAG"
CACHE_TAG = b"Signature: 8a477f597d28d172789f06886806bc55"
"""Of the Cache Directory Tagging Specification; the tag file begins with it."""

MAX_PATTERN = 16 * 1024

_END = rb"(?=/|\Z)"
_NEVER = re.compile(rb"(?!)")


class Exclusions:
    """Patterns, compiled once. Equal if the patterns are."""

    __slots__ = ("_runs", "patterns")

    def __init__(self, patterns: Sequence[bytes | str] = ()) -> None:
        """Compile patterns.

        Raises:
            UsageError: a pattern names nothing.
        """
        self.patterns = tuple(os.fsencode(pattern) for pattern in patterns)
        self._runs = tuple(reversed(_compile(self.patterns)))

    def excluded(self, path: bytes, is_folder: bool) -> bool:
        """Return whether an absolute path is left out. Its parents are not looked at."""
        if not self._runs or path == b"/":
            return False
        name = path[path.rfind(b"/") + 1 :]
        for run in self._runs:
            names, paths = run.folders if is_folder else run.others
            if names.match(name) or paths.match(path):
                return run.leaves_out
        return False

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Exclusions) and self.patterns == other.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __repr__(self) -> str:
        return f"Exclusions({list(self.patterns)!r})"


_Matchers = tuple["re.Pattern[bytes]", "re.Pattern[bytes]"]
"""What matches a name, and what matches a whole path."""


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighboring patterns of one sign."""

    leaves_out: bool
    folders: _Matchers
    others: _Matchers


def _compile(patterns: Sequence[bytes]) -> list[_Run]:
    runs = []
    for leaves_out, group in groupby(patterns, lambda pattern: not pattern.startswith(b"!")):
        translated = [_translate(pattern if leaves_out else pattern[1:]) for pattern in group]
        others = [expression for expression in translated if not expression.folders_only]
        runs.append(_Run(leaves_out, _matchers(translated), _matchers(others)))
    return runs


@dataclass(frozen=True, slots=True)
class _Expression:
    text: bytes
    of_name: bool
    folders_only: bool


def _matchers(expressions: list[_Expression]) -> _Matchers:
    names = [expression.text for expression in expressions if expression.of_name]
    paths = [expression.text for expression in expressions if not expression.of_name]
    return _any_of(names), _any_of(paths)


def _any_of(texts: list[bytes]) -> re.Pattern[bytes]:
    return re.compile(rb"(?:" + rb"|".join(texts) + rb")\Z", re.DOTALL) if texts else _NEVER


def _translate(pattern: bytes) -> _Expression:
    folders_only = pattern.endswith(b"/")
    anchored = pattern.startswith(b"/")
    parts = [part for part in pattern.split(b"/") if part not in (b"", b".")]
    if not parts or len(pattern) > MAX_PATTERN or b"\0" in pattern:
        raise UsageError(
            f"The pattern '{printable(pattern[:80])}' names nothing that can be left out.",
            "Give a name, a path, or a pattern such as '*.tmp'.",
        )
    if len(parts) == 1 and not anchored and parts[0] != b"**":
        return _Expression(_component(parts[0]), True, folders_only)
    return _Expression(_path(parts, anchored), False, folders_only)


def _path(parts: list[bytes], anchored: bool) -> bytes:
    """Return an expression for a path, which is a sequence of "/name"; `**` stands for any number of them.

    Between two `**` the first match is as good as any, so it is taken and kept (atomic groups); the same holds for `*`
    in a component. So no pattern makes matching slow.
    """
    runs: list[list[bytes]] = [[]] if anchored else [[], []]
    for part in parts:
        if part == b"**":
            runs.append([])
        else:
            runs[-1].append(rb"/" + _component(part))
    first, *others = (b"".join(run) for run in runs)
    if not others:
        return first
    between = b"".join(rb"(?>(?:/[^/]+)*?" + run + _END + rb")" for run in others[:-1] if run)
    return first + between + rb"(?:/[^/]+)*" + others[-1]


def _component(pattern: bytes) -> bytes:
    """Return an expression for one component; it ends where the component ends."""
    runs = [b""]
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            runs.append(b"")
        elif byte == b"?":
            runs[-1] += rb"[^/]"
        elif byte == b"[":
            expression, at = _class(pattern, at)
            runs[-1] += expression
        elif byte == b"\\" and at < len(pattern):
            runs[-1] += re.escape(pattern[at : at + 1])
            at += 1
        else:
            runs[-1] += re.escape(byte)
    first, *others = runs
    if not others:
        return first + _END
    between = b"".join(rb"(?>[^/]*?" + run + rb")" for run in others[:-1] if run)
    return first + between + rb"(?>[^/]*?" + others[-1] + _END + rb")"


def _class(pattern: bytes, at: int) -> tuple[bytes, int]:
    """Return an expression for `[...]`, and where the pattern goes on. Without an end, `[` stands for itself."""
    start = at
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    end = pattern.find(b"]", at + 1)  # A bracket right at the start is a member.
    if end < 0:
        return re.escape(b"["), start
    members = set(_members(pattern[at:end]))
    if negated:
        members = set(range(256)) - members
    members.discard(ord(b"/"))
    body = b"".join(rb"\x%02x" % member for member in sorted(members))
    return (rb"[" + body + rb"]" if body else rb"(?!)"), end + 1


def _members(text: bytes) -> list[int]:
    found: list[int] = []
    at = 0
    while at < len(text):
        if at + 2 < len(text) and text[at + 1] == ord(b"-"):
            found.extend(range(text[at], text[at + 2] + 1))
            at += 3
        else:
            found.append(text[at])
            at += 1
    return found


def parse_exclude_file(content: bytes) -> list[bytes]:
    """Return the patterns of an exclude file: one a line; blank lines and lines that begin with `#` are dropped.

    Spaces around a pattern do not count; one that does is written `\\ `.
    """
    patterns = []
    for line in content.removeprefix(b"\xef\xbb\xbf").splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith(b"#"):
            continue
        if pattern.endswith(b"\\") and line.rstrip(b"\r\n").endswith(b"\\ "):
            pattern += b" "
        patterns.append(pattern)
    return patterns


def is_tagged_cache(folder: bytes) -> bool:
    """Return whether a folder says of itself that it is a cache: it has a valid CACHEDIR.TAG."""
    path = os.path.join(folder, CACHE_TAG_NAME)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode) and os.read(fd, len(CACHE_TAG)) == CACHE_TAG
    except OSError:
        return False
    finally:
        os.close(fd)
