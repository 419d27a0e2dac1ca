"""Patterns for paths, as restic and rsync users know them.

A pattern with a slash matches whole path components, from the root if it begins with a slash, else from any folder;
without one it matches names. `*`, `?` and `[...]` stay within a component, `**` spans any number of them, a slash at
the end matches folders only, and a leading `!` takes back what an earlier pattern matched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

CACHE_TAG = b"CACHEDIR.TAG"
_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"


@dataclass(frozen=True, slots=True)
class _Rule:
    matches: re.Pattern[bytes]
    by_name: bool
    folders_only: bool
    negated: bool


@dataclass(slots=True)
class Exclusions:
    """A list of patterns; the last one that matches decides."""

    patterns: tuple[bytes, ...]
    _rules: list[_Rule] = field(default_factory=list, repr=False)

    def __init__(self, patterns: Iterable[bytes | str]) -> None:
        self.patterns = tuple(p if isinstance(p, bytes) else os.fsencode(p) for p in patterns)
        self._rules = [_rule(pattern) for pattern in self.patterns]

    def excluded(self, path: bytes, is_folder: bool) -> bool:
        """Return whether the patterns match a path (absolute, without a slash at the end)."""
        result = False
        name = path.rsplit(b"/", 1)[-1]
        for rule in self._rules:
            if rule.negated != result or (rule.folders_only and not is_folder):
                continue
            if rule.matches.fullmatch(name if rule.by_name else path):
                result = not rule.negated
        return result


def _rule(pattern: bytes) -> _Rule:
    negated = pattern.startswith(b"!")
    body = pattern[1:] if negated else pattern
    folders_only = len(body) > 1 and body.endswith(b"/")
    body = body.rstrip(b"/") or b"/"
    if b"/" not in body:
        return _Rule(_component(body), True, folders_only, negated)
    anchored = body.startswith(b"/")
    regex = b"" if anchored else b"(?:/[^/]*)*"
    for part in body.strip(b"/").split(b"/"):
        regex += b"(?:/[^/]*)*" if part == b"**" else b"/" + _component(part).pattern
    return _Rule(re.compile(regex or b"/", re.DOTALL), False, folders_only, negated)


def _component(part: bytes) -> re.Pattern[bytes]:
    """Translate one component; its wildcards never match a slash."""
    regex, at = b"", 0
    while at < len(part):
        char = part[at : at + 1]
        at += 1
        close = part.find(b"]", at + 1 + (part[at : at + 1] in (b"!", b"^"))) if char == b"[" else -1
        if char == b"*":
            regex += b"[^/]*"
        elif char == b"?":
            regex += b"[^/]"
        elif char == b"[" and close > 0:
            inner = part[at:close]
            negated = inner[:1] in (b"!", b"^")
            inner = inner[negated:].replace(b"\\", b"\\\\").replace(b"[", b"\\[").replace(b"]", b"\\]")
            regex += b"(?!/)[" + (b"^" if negated else b"") + inner.replace(b"^", b"\\^").replace(b"&", b"\\&") + b"]"
            at = close + 1
        elif char == b"\\" and at < len(part):
            regex += re.escape(part[at : at + 1])
            at += 1
        else:
            regex += re.escape(char)
    try:
        return re.compile(regex, re.DOTALL)
    except re.error:
        return re.compile(re.escape(part), re.DOTALL)


def parse_exclude_file(data: bytes) -> list[bytes]:
    """Return the patterns of a file: one a line, without empty lines and those that begin with #."""
    lines = (line.strip() for line in data.splitlines())
    return [line for line in lines if line and not line.startswith(b"#")]


def is_tagged_cache(folder: bytes) -> bool:
    """Return whether a folder carries a cache tag (https://bford.info/cachedir/)."""
    try:
        handle = os.open(os.path.join(folder, CACHE_TAG), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return os.read(handle, len(_SIGNATURE)) == _SIGNATURE
    except OSError:
        return False
    finally:
        os.close(handle)
