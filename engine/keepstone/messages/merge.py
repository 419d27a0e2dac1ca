"""The archive's state and its join: what makes the union of sources the same in any order.

The state of a month of a chat is a map from *rows* (what a source says of one thing, in canonical bytes, without its
delivery state) to the furthest delivery state seen and a *history*: for each source, when the row appeared there and
when it was gone. A history is kept as changes only: times at which the row is there for the first, again gone, there
again, ... all of them times at which the source was read as a whole. These times are the source's *scans*. Between two
changes nothing is stored, so a row that is still there adds nothing.

A state with its scans says for each row, source and scan whether the row was there. The join says so for the union of
both: it is the union of facts, and so commutative, associative and idempotent. A source that shows only a part of what
there is (an export of the newest messages) has no scans; of it only the first sight of a row is kept, and what it does
not show is not gone.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import TypeAlias

Times: TypeAlias = tuple[int, ...]
"""Milliseconds since 1970 UTC, strictly ascending."""
History: TypeAlias = tuple[tuple[bytes, Times], ...]
"""(source, changes) in ascending order of the sources' ids; the first change is an appearance."""
State: TypeAlias = dict[bytes, tuple[int, History]]
"""row -> delivery state, history."""
Scans: TypeAlias = Mapping[bytes, Times]
"""source -> when it was read as a whole. Sources that are never whole are not in it."""

NEVER: Times = ()


def scan(rows: Iterable[tuple[bytes, int]], source: bytes, time_ms: int) -> State:
    """Return the state of one reading of a source: pairs of row and delivery state, in ascending order."""
    history: History = ((source, (time_ms,)),)
    shared: dict[int, tuple[int, History]] = {}
    # Of a row in several states the furthest comes last.
    return {row: shared.get(state) or shared.setdefault(state, (state, history)) for row, state in rows}


def there(changes: Times, time_ms: int) -> bool:
    """Return whether a row was in a source at a time, by its changes there."""
    return bool(bisect_right(changes, time_ms) % 2)


def join_scans(left: Scans, right: Scans) -> dict[bytes, Times]:
    """Return the scans of a join."""
    return {source: tuple(sorted({*left.get(source, NEVER), *right.get(source, NEVER)})) for source in {*left, *right}}


def join(left: State, right: State, left_scans: Scans, right_scans: Scans) -> State:
    """Return the state that says what both say."""
    if not left and left_scans.keys().isdisjoint(right_scans):
        return dict(right)  # Nobody says anything else of these sources.
    joined: dict[tuple[History, History], History] = {}

    def history(ours: History, theirs: History) -> History:
        found = joined.get((ours, theirs))
        if found is None:
            found = joined[ours, theirs] = join_histories(ours, theirs, left_scans, right_scans)
        return found

    nothing = (0, ())
    result: State = {}
    for row, (state, ours) in left.items():
        other, theirs = right.get(row, nothing)
        result[row] = (max(state, other), history(ours, theirs))
    for row, (state, theirs) in right.items():
        if row not in left:
            result[row] = (state, history((), theirs))
    return result


def join_histories(left: History, right: History, left_scans: Scans, right_scans: Scans) -> History:
    """Return the history of a row that has one in each of two states; an empty one if a state does not have the row."""
    ours, theirs = dict(left), dict(right)
    found = []
    for source in sorted({*ours, *theirs}):
        changes = join_changes(
            ours.get(source, NEVER), theirs.get(source, NEVER),
            left_scans.get(source, NEVER), right_scans.get(source, NEVER),
        )  # fmt: skip
        found.append((source, changes))
    return tuple(found)


def join_changes(left: Times, right: Times, left_scans: Times, right_scans: Times) -> Times:
    """Return the changes of a row in one source over the scans of both."""
    if not left_scans and not right_scans:
        return (min(left + right),)
    if left == right:
        return left  # Both are the same function of time, wherever it is asked.
    if not left_scans or not right_scans:
        return left or right  # One side has never read this source.
    if left_scans[-1] < right_scans[0]:
        return _follow(left, right, right_scans[0])
    if right_scans[-1] < left_scans[0]:
        return _follow(right, left, left_scans[0])
    return _over_all(left, right, left_scans, right_scans)


def _follow(early: Times, late: Times, start: int) -> Times:
    """Return the changes of one run of scans after another, which begins at `start`."""
    before, after = bool(len(early) % 2), there(late, start)
    if before == after:
        return early + (late[1:] if after else late)
    return early + (late if after else (start, *late))


def _over_all(left: Times, right: Times, left_scans: Times, right_scans: Times) -> Times:
    ours, theirs = set(left_scans), set(right_scans)
    changes: list[int] = []
    for time_ms in sorted(ours | theirs):
        now = (time_ms in ours and there(left, time_ms)) or (time_ms in theirs and there(right, time_ms))
        if now != bool(len(changes) % 2):
            changes.append(time_ms)
    return tuple(changes)
