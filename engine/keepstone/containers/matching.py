"""Find the encoder that made a deflate stream, and prove it.

A candidate is run over the plaintext while its output is compared with the original, piece by piece. A wrong one is
found out at its first block, so the search costs little; the right one has proven itself when the stream ends. The
members of one archive were usually made alike: what proved itself last is tried first.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from itertools import pairwise

from keepstone.containers import compressor, transforms
from keepstone.containers.compressor import FLUSHED, GZIP, INFO_ZIP, ZLIB
from keepstone.containers.context import Context, Counted
from keepstone.containers.nodes import Deflate, DeflateSettings, Span
from keepstone.containers.source import BLOCK, Broken, MemorySource, Pieces, Source, ahead, pieces_of

RAW = compressor.RAW_WINDOW
WASTE = 16 * 1024 * 1024
"""Plaintext that candidates may go through in vain, for one stream."""
AHEAD_FROM = 1024 * 1024
"""Streams that may be this long are inflated in a thread of their own."""
HANGING = 16
"""Bytes that an encoder may be ahead of what had to be read to inflate its input: the end of a block."""

_LIKELY = (
    *((ZLIB, level, 8) for level in (6, 9, 1)),
    *((encoder, level, 0) for level in (6, 9, 1) for encoder in (INFO_ZIP, GZIP)),
    (FLUSHED, 1, 7),
    *((ZLIB, level, 8) for level in (5, 7, 8, 2, 3, 4)),
    *((ZLIB, level, 9) for level in (6, 9, 1, 2, 3, 4, 5, 7, 8)),
    *((encoder, level, 0) for encoder in (INFO_ZIP, GZIP) for level in (2, 3, 4, 5, 7, 8)),
)
"""Encoder, level and memory level. 6 and 8 are the defaults of zlib, and so of Java, Python and Android.
Microsoft Office has level 1 and memory level 7, and flushes before it ends."""
_FEW = 3

_FLEVEL = {0: range(2), 1: range(2, 6), 2: range(6, 7), 3: range(7, 10)}
"""Which levels the header of a zlib stream can mean."""


_MARK = b"\0\0\xff\xff"
"""How an empty stored block ends, which a full flush leaves."""
_PROBE = 1024
MOST_SECTIONS, LONGEST_SECTION = 200_000, 0xFFFF_FFFF


class _Different(Exception):
    """This candidate did not make the stream."""


def match(
    source: Source, offset: int, limit: int, wbits: int, context: Context, depth: int, stranger: int = GZIP
) -> Deflate:
    """Return the proven transform of a deflate stream that begins at an offset and ends within `limit` bytes.

    Args:
        stranger: the encoder to try last. GNU gzip and Info-ZIP differ only where their input ends, so that the wrong
            one of the two is found out only after all of it.

    Raises:
        Broken: it is no deflate stream, or none that a known encoder makes.
    """
    wanted, origin = source, offset
    if limit <= 4 * BLOCK:
        source, offset = MemorySource(source.read_at(offset, limit)), 0
    wasted = 0
    for settings in _candidates(source, offset, wbits, context, stranger):
        for with_sections in (True, False) if compressor.has_sections(settings) else (False,):
            attempt = _Attempt(source, offset, limit, settings, context, with_sections)
            try:
                end = attempt.run()
            except _Different:
                wasted += attempt.plain.size
                if not attempt.cuts:
                    break
                continue  # What looked like the end of a section may have been there by chance.
            sections = tuple(after - before for before, after in pairwise((0, *attempt.cuts)))
            node = Deflate(Span(origin, end), settings, Span(0, attempt.plain.size), sections)
            context.proved(end, settings)
            found = context.descend(node, attempt.plain.plaintext(), wanted, depth)
            assert isinstance(found, Deflate)
            return found
        if wasted > WASTE:
            break
    context.failed()
    raise Broken("no known encoder made a deflate stream")


def _candidates(source: Source, offset: int, wbits: int, context: Context, stranger: int) -> Iterator[DeflateSettings]:
    levels: range = range(1, 10)
    if wbits > 0:
        header = source.read_at(offset, 2)
        levels = _FLEVEL[header[1] >> 6]
    highest = 9 if compressor.COMPILED else context.patience.highest
    seen = set()
    few = context.failed_in_a_row >= context.budget.failures
    recent = ((settings.encoder, settings.level, settings.mem_level) for settings in context.recent)
    likely = _LIKELY[:_FEW] if few else sorted(_LIKELY, key=lambda candidate: candidate[0] == stranger)
    for encoder, level, memory in (*recent, *likely):
        settings = DeflateSettings(encoder, level, wbits, memory, 0)
        if (
            level in levels
            and level <= highest
            and settings not in seen
            and (encoder in (ZLIB, FLUSHED) or wbits == RAW)
        ):
            seen.add(settings)
            yield settings


class _Attempt:
    """One candidate against one stream, whose bytes are read once: they are inflated, then compared."""

    def __init__(
        self,
        source: Source,
        offset: int,
        limit: int,
        settings: DeflateSettings,
        context: Context,
        with_sections: bool,
    ) -> None:
        self._source, self._offset, self._limit, self._settings = source, offset, limit, settings
        self._context, self._with_sections = context, with_sections
        self._original: deque[bytes] = deque()
        self._inflated = 0
        self._unused: int | None = None
        self._read = self._proven = 0
        self.plain = Counted(context)
        self.cuts: list[int] = []
        """Where in the plaintext the encoder was flushed."""

    def run(self) -> int:
        """Return the length of the stream.

        Raises:
            Broken: it is damaged.
            _Different: the candidate makes something else of its plaintext.
        """
        try:
            return self._run()
        except (Broken, _Different):
            self.plain.drop()
            raise

    def _run(self) -> int:
        hanging = b""
        inflated = self._counted(transforms.inflate(self._settings.wbits, self._outer(), self._ended))
        if self._limit >= AHEAD_FROM:
            inflated = ahead(inflated)
        with closing(inflated):
            plain = self._context.metered(self.plain.of(inflated))
            if not compressor.COMPILED:
                plain = self._context.patient(plain)
            for out in transforms.deflate(self._settings, plain, self.cuts):
                hanging = self._compare(hanging + out)
                if len(hanging) > HANGING:
                    raise _Different
        if hanging or self._unused is None or self._proven != self._read - self._unused:
            raise _Different
        return self._proven

    def _counted(self, inflated: Iterator[bytes]) -> Generator[bytes, None, None]:
        for piece in inflated:
            self._inflated += len(piece)
            yield piece

    def _outer(self) -> Iterator[bytes]:
        after_mark = False
        for piece, marked in _cut_at_marks(pieces_of(self._source, self._offset, self._limit)):
            # All plaintext of what came before was inflated and counted when the next piece is asked for.
            if after_mark and self._with_sections and _may_begin_a_section(piece):
                if len(self.cuts) == MOST_SECTIONS or self._inflated - (self.cuts or [0])[-1] > LONGEST_SECTION:
                    raise Broken("a deflate stream has too many sections, or too long ones")
                self.cuts.append(self._inflated)
                self._context.spend(1)
            after_mark = marked
            self._original.append(piece)
            self._read += len(piece)
            yield piece

    def _compare(self, made: bytes) -> bytes:
        """Compare with as much of the original as was read; return what is left."""
        at = 0
        while at < len(made) and self._original:
            piece = self._original.popleft()
            size = min(len(piece), len(made) - at)
            if not made.startswith(piece[:size], at):
                raise _Different
            at += size
            if size < len(piece):
                self._original.appendleft(piece[size:])
        self._proven += at
        return made[at:]

    def _ended(self, unused: bytes) -> None:
        self._unused = len(unused)


def _cut_at_marks(pieces: Pieces) -> Iterator[tuple[bytes, bool]]:
    """Yield the same bytes, cut behind every mark, and whether a mark ends there."""
    before = b""
    for piece in pieces:
        seen, start, found = before + piece, 0, -1
        while (found := seen.find(_MARK, found + 1)) >= 0:
            end = found + len(_MARK) - len(before)
            yield piece[start:end], True
            start = end
        if start < len(piece):
            yield piece[start:], False
        before = seen[-len(_MARK) + 1 :]


def _may_begin_a_section(piece: bytes) -> bool:
    """Return whether these bytes may be the first of a stream. Compressed bytes hold a mark by chance, too."""
    try:
        zlib.decompressobj(RAW).decompress(piece[:_PROBE])
    except zlib.error:
        return False
    return True
