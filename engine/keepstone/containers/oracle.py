"""The deflate encoders in plain Python: what `_deflate.c` has to equal, and what takes over where it is not built.

The three encoders find matches alike: chains of strings with the same hash in a window of 32 KiB, and above level 3 a
match is used only if the next position has none that is longer. They differ in three ways. A block of zlib ends after
8191, 16383 or 32767 symbols (memory level 7, 8, 9); one of the ancestor after 32767, or earlier where that seems
better. Near the end of the input zlib and Info-ZIP settle for a match that reaches it, while gzip searches on and
compares bytes of the window that are no input any more. So the window is kept as gzip keeps it, rests of older input
included.
"""

from __future__ import annotations

from keepstone.containers.blocks import BitWriter, Block

ZLIB, GZIP, INFO_ZIP, FLUSHED = 0, 1, 2, 3

WINDOW = 32768
LEAST, MOST = 3, 258
AHEAD = MOST + LEAST + 1
FARTHEST = WINDOW - AHEAD
TOO_FAR = 4096

_LEVELS = (
    (0, 0, 0, 0), (4, 4, 8, 4), (4, 5, 16, 8), (4, 6, 32, 32), (4, 4, 16, 16),
    (8, 16, 32, 32), (8, 16, 128, 128), (8, 32, 128, 256), (32, 128, 258, 1024), (32, 258, 258, 4096),
)  # fmt: skip
"""good, lazy, nice, chain: from which length on to search less, or no more; and how long a chain is followed."""


class Encoder:
    """Raw deflate with a window of 32 KiB."""

    def __init__(self, number: int, level: int, memory: int, /) -> None:
        self._ancestor = number in (GZIP, INFO_ZIP)
        self._flushes = number == FLUSHED
        known = number in (ZLIB, GZIP, INFO_ZIP, FLUSHED)
        if not known or not 1 <= level <= 9 or (not self._ancestor and memory not in (7, 8, 9)):
            raise ValueError("an encoder has no such settings")
        self._clamps = number != GZIP
        self._level = level
        self._good, self._lazy, self._nice, self._chain = _LEVELS[level]
        bits = 15 if self._ancestor else memory + 7
        self._shift, self._mask = (bits + 2) // 3, (1 << bits) - 1
        self._symbols = 32768 if self._ancestor else 1 << (memory + 6)
        self._window = bytearray(2 * WINDOW + MOST + 8)
        self._head, self._previous = [0] * (1 << bits), [0] * WINDOW
        self._hash = self._at = self._ahead = self._block_at = 0
        self._match_at = self._before_at = 0
        self._match_length, self._before_length = (LEAST - 1 if level > 3 else 0), LEAST - 1
        self._pending = self._started = self._ended = False
        self._waiting = bytearray()
        self._block, self._out = Block(), BitWriter()

    def compress(self, data: bytes, /) -> bytes:
        """Return what these bytes decide."""
        self._waiting += data
        self._run(final=False)
        return self._out.take()

    def flush(self) -> bytes:
        """Return the rest."""
        if self._flushes:
            return self.cut() + self._last()
        self._run(final=True)
        return self._last()

    def _last(self) -> bytes:
        self._flush_block(last=True)
        return self._out.take()

    def cut(self) -> bytes:
        """Return the rest, as the end of a section that others follow: what zlib's full flush gives."""
        self._run(final=True)
        if self._block.count:
            self._flush_block(last=False)
        self._out.put(0, 3)
        self._out.align()
        self._out.put(0xFFFF0000, 32)
        return self._out.take()

    def _run(self, final: bool) -> None:
        """Encode as much as the input decides; if it is final, all of it but the end of the last block."""
        while True:
            while self._ahead < AHEAD and not self._ended:
                if not self._refill(final):
                    return
            if not self._ahead:
                break
            if not self._ancestor and self._at >= WINDOW + FARTHEST:
                self._slide()  # the ancestor slides only to read on
            if self._level > 3:
                self._step_lazy()
            else:
                self._step_fast()
        if self._pending:
            self._note(0, self._window[self._at - 1])
        self._pending = False

    # The window

    def _refill(self, final: bool) -> bool:
        """Read on; return False if there is not enough input for it yet."""
        sliding = self._at >= WINDOW + FARTHEST
        more = 2 * WINDOW - self._ahead - self._at + (WINDOW if sliding else 0)
        if not final and len(self._waiting) < more:
            return False
        if sliding:
            self._slide()
        part = self._waiting[:more]
        del self._waiting[:more]
        end = self._at + self._ahead
        self._window[end : end + len(part)] = part
        self._ahead += len(part)
        if not part:
            self._ended = True
            self._window[end : end + LEAST - 1] = bytes(LEAST - 1)
        if not self._started and self._ahead:
            self._started = True
            self._restart_hash(0)
        return True

    def _slide(self) -> None:
        self._window[:WINDOW] = self._window[WINDOW : 2 * WINDOW]
        self._at -= WINDOW
        self._match_at -= WINDOW
        self._block_at -= WINDOW
        self._head = [max(0, at - WINDOW) for at in self._head]
        self._previous = [max(0, at - WINDOW) for at in self._previous]

    def _restart_hash(self, at: int) -> None:
        self._hash = ((self._window[at] << self._shift) ^ self._window[at + 1]) & self._mask

    def _insert(self) -> int:
        """Enter the string at this position; return the newest earlier one with its hash. 0 is none."""
        self._hash = ((self._hash << self._shift) ^ self._window[self._at + LEAST - 1]) & self._mask
        found = self._previous[self._at % WINDOW] = self._head[self._hash]
        self._head[self._hash] = self._at
        return found

    # The search

    def _candidate(self) -> int:
        """Enter the string at this position and return where a search may begin; 0 is nowhere."""
        found = self._insert() if self._ancestor or self._ahead >= LEAST else 0
        near = self._at - found <= FARTHEST and self._at <= 2 * WINDOW - AHEAD
        return found if near else 0

    def _search(self, candidate: int) -> int:
        """Return the length of the longest match that is longer than the one before, or that one's length."""
        window, at = self._window, self._at
        best = self._before_length
        left = self._chain >> 2 if best >= self._good else self._chain
        nice = min(self._nice, self._ahead) if self._clamps else self._nice
        limit = max(0, at - FARTHEST)
        while True:  # The first candidate may lie at the limit itself.
            if window[candidate + best] == window[at + best]:
                length = 0
                while length < MOST and window[candidate + length] == window[at + length]:
                    length += 1
                if length > best:
                    self._match_at, best = candidate, length
                    if length >= nice:
                        break
            candidate = self._previous[candidate % WINDOW]
            left -= 1
            if candidate <= limit or not left:
                break
        return min(best, self._ahead)

    def _step_fast(self) -> None:
        found = self._candidate()
        if found:
            self._match_length = self._search(found)
        length = self._match_length
        if length >= LEAST:
            full = self._note(self._at - self._match_at, length - LEAST)
            self._ahead -= length
            if length <= self._lazy and (self._ancestor or self._ahead >= LEAST):
                for _ in range(length - 1):
                    self._at += 1
                    self._insert()
                self._at += 1
            else:
                self._at += length
                self._restart_hash(self._at)
            self._match_length = 0
        else:
            full = self._note(0, self._window[self._at])
            self._ahead -= 1
            self._at += 1
        if full:
            self._flush_block(last=False)

    def _step_lazy(self) -> None:
        found = self._candidate()
        self._before_length, self._before_at = self._match_length, self._match_at
        self._match_length = LEAST - 1
        if found and self._before_length < self._lazy:
            self._match_length = self._search(found)
            if self._match_length == LEAST and self._at - self._match_at > TOO_FAR:
                self._match_length = LEAST - 1
        if self._before_length >= LEAST and self._match_length <= self._before_length:
            self._use_the_match_before()
            return
        if self._pending and self._note(0, self._window[self._at - 1]):
            self._flush_block(last=False)
        self._pending = True
        self._at += 1
        self._ahead -= 1

    def _use_the_match_before(self) -> None:
        last = self._at + self._ahead - LEAST  # the last string that lies within the input
        full = self._note(self._at - 1 - self._before_at, self._before_length - LEAST)
        self._ahead -= self._before_length - 1
        for _ in range(self._before_length - 2):
            self._at += 1
            if self._ancestor or self._at <= last:
                self._insert()
        self._pending = False
        self._match_length = LEAST - 1
        self._at += 1
        if full:
            self._flush_block(last=False)

    # Blocks

    def _note(self, distance: int, length: int) -> bool:
        """Note a literal (distance 0) or a match; return whether the block ends with it."""
        block = self._block
        block.note(distance, length)
        if self._ancestor and self._level > 2 and block.count % 4096 == 0 and self._stops_early():
            return True
        return block.count == self._symbols - 1

    def _stops_early(self) -> bool:
        written = self._block.count * 8 + self._block.distance_cost()
        read = self._at - self._block_at
        return self._block.matches < self._block.count // 2 and written // 8 < read // 2

    def _flush_block(self, last: bool) -> None:
        # What has left the window cannot be stored as it is.
        plain = bytes(self._window[self._block_at : self._at]) if self._block_at >= 0 else None
        self._block.end(plain, last, self._out)
        self._block_at = self._at
        self._block = Block()
