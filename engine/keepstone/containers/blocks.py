"""One deflate block (RFC 1951) in plain Python: the symbols, the codes for them, the bits.

Deflate leaves the encoder free; these are the choices that zlib and its ancestor share: how a heap orders equal
frequencies, how code lengths above the limit are mended, which of the three kinds of block wins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LITERALS, DISTANCES, LENGTHS = 286, 30, 19
END_OF_BLOCK = 256
_HEAP = 2 * LITERALS + 1

LENGTH_EXTRA = (*[0] * 8, *[1] * 4, *[2] * 4, *[3] * 4, *[4] * 4, *[5] * 4, 0)
DISTANCE_EXTRA = (0, 0, *(n // 2 for n in range(28)))
_REPEAT_EXTRA = (*[0] * 16, 2, 3, 7)
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)


class BitWriter:
    """Bits, the lowest first."""

    def __init__(self) -> None:
        self._bytes, self._bits, self._held = bytearray(), 0, 0

    def put(self, value: int, bits: int) -> None:
        self._bits |= value << self._held
        self._held += bits
        while self._held >= 8:
            self._bytes.append(self._bits & 0xFF)
            self._bits >>= 8
            self._held -= 8

    def align(self) -> None:
        if self._held:
            self.put(0, 8 - self._held)

    def put_bytes(self, data: bytes) -> None:
        self._bytes += data

    def take(self) -> bytes:
        """Return the whole bytes so far, and forget them."""
        done = bytes(self._bytes)
        self._bytes.clear()
        return done


@dataclass(slots=True)
class Codes:
    """A prefix code: the length and the bits (first bit lowest) of each symbol."""

    lengths: list[int]
    bits: list[int]
    last: int


def _codes(lengths: list[int], last: int) -> Codes:
    """Return the code that RFC 1951 gives these lengths."""
    bits = [0] * len(lengths)
    code = 0
    for length in range(1, 16):
        for symbol in range(last + 1):
            if lengths[symbol] == length:
                bits[symbol] = int(f"{code:0{length}b}"[::-1], 2)
                code += 1
        code <<= 1
    return Codes(lengths, bits, last)


FIXED_LITERALS = _codes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8, 287)
FIXED_DISTANCES = _codes([5] * DISTANCES, DISTANCES - 1)


def _table(extra: Sequence[int]) -> list[tuple[int, int]]:
    """Return for each value its code and what is left of it for the extra bits."""
    return [(code, rest) for code, bits in enumerate(extra) for rest in range(1 << bits)]


_LENGTH_CODE = [*_table(LENGTH_EXTRA[:28])[:255], (28, 0)]
_DISTANCE_CODE = _table(DISTANCE_EXTRA)


class _Tree:
    """Builds the code of one alphabet; `best` and `fixed` are the bits that the symbols then cost."""

    def __init__(self, freq: list[int], fixed: Codes | None, extra: Sequence[int], base: int, most: int) -> None:
        self._symbols = len(freq)
        self._freq = freq + [0] * (_HEAP - len(freq))
        self._depth, self._parent, self._length = [0] * _HEAP, [0] * _HEAP, [0] * _HEAP
        self._item = [0] * (_HEAP + 1)
        self._count, self._sorted, self._last = 0, _HEAP, -1
        self.best = self.fixed = 0
        self._build(fixed)
        self._limit(fixed, extra, base, most)
        self.codes = _codes(self._length[: self._symbols], self._last)

    def _before(self, n: int, m: int) -> bool:
        return self._freq[n] < self._freq[m] or (self._freq[n] == self._freq[m] and self._depth[n] <= self._depth[m])

    def _sink(self, at: int) -> None:
        moved, below = self._item[at], at * 2
        while below <= self._count:
            if below < self._count and self._before(self._item[below + 1], self._item[below]):
                below += 1
            if self._before(moved, self._item[below]):
                break
            self._item[at] = self._item[below]
            at, below = below, below * 2
        self._item[at] = moved

    def _push(self, symbol: int) -> None:
        self._count += 1
        self._item[self._count] = symbol

    def _build(self, fixed: Codes | None) -> None:
        for symbol in range(self._symbols):
            if self._freq[symbol]:
                self._push(symbol)
                self._last = symbol
        while self._count < 2:  # There are always two codes, used or not.
            symbol = 0
            if self._last < 2:
                symbol = self._last = self._last + 1
            self._push(symbol)
            self._freq[symbol] = 1
            self.best -= 1
            if fixed:
                self.fixed -= fixed.lengths[symbol]
        for at in range(self._count // 2, 0, -1):
            self._sink(at)
        node = self._symbols
        while self._count >= 2:
            n = self._item[1]
            self._item[1] = self._item[self._count]
            self._count -= 1
            self._sink(1)
            m = self._item[1]
            self._sorted -= 2
            self._item[self._sorted + 1], self._item[self._sorted] = n, m
            self._freq[node] = self._freq[n] + self._freq[m]
            self._depth[node] = max(self._depth[n], self._depth[m]) + 1
            self._parent[n] = self._parent[m] = node
            self._item[1] = node
            node += 1
            self._sink(1)
        self._sorted -= 1
        self._item[self._sorted] = self._item[1]

    def _limit(self, fixed: Codes | None, extra: Sequence[int], base: int, most: int) -> None:
        counts, overflow = [0] * 17, 0
        self._length[self._item[self._sorted]] = 0
        for at in range(self._sorted + 1, _HEAP):
            n = self._item[at]
            bits = self._length[self._parent[n]] + 1
            if bits > most:
                bits, overflow = most, overflow + 1
            self._length[n] = bits
            if n > self._last:
                continue
            counts[bits] += 1
            more = extra[n - base] if n >= base else 0
            self.best += self._freq[n] * (bits + more)
            if fixed:
                self.fixed += self._freq[n] * (fixed.lengths[n] + more)
        if overflow:
            self._mend(counts, overflow, most)

    def _mend(self, counts: list[int], overflow: int, most: int) -> None:
        while overflow > 0:
            bits = most - 1
            while not counts[bits]:
                bits -= 1
            counts[bits] -= 1
            counts[bits + 1] += 2
            counts[most] -= 1
            overflow -= 2
        at = _HEAP
        for bits in range(most, 0, -1):
            left = counts[bits]
            while left:
                at -= 1
                n = self._item[at]
                if n > self._last:
                    continue
                self.best += (bits - self._length[n]) * self._freq[n]
                self._length[n] = bits
                left -= 1


class Block:
    """The symbols of one block."""

    def __init__(self) -> None:
        self._symbols: list[tuple[int, int]] = []
        self._literals, self._distances = [0] * LITERALS, [0] * DISTANCES
        self._literals[END_OF_BLOCK] = 1
        self.matches = 0

    @property
    def count(self) -> int:
        return len(self._symbols)

    def note(self, distance: int, length: int) -> None:
        """Note a literal (distance 0), or a match with its length less 3."""
        self._symbols.append((distance, length))
        if distance:
            self.matches += 1
            self._literals[_LENGTH_CODE[length][0] + 257] += 1
            self._distances[_DISTANCE_CODE[distance - 1][0]] += 1
        else:
            self._literals[length] += 1

    def distance_cost(self) -> int:
        """Return the bits of the distances, five for each code."""
        return sum(count * (5 + extra) for count, extra in zip(self._distances, DISTANCE_EXTRA, strict=True))

    def end(self, plain: bytes | None, last: bool, out: BitWriter) -> None:
        """Write the block in the cheapest of three ways. `plain` are its bytes, if they are still there."""
        literals = _Tree(self._literals, FIXED_LITERALS, LENGTH_EXTRA, 257, 15)
        distances = _Tree(self._distances, FIXED_DISTANCES, DISTANCE_EXTRA, 0, 15)
        runs = [*_runs(literals.codes), *_runs(distances.codes)]
        freq = [0] * LENGTHS
        for symbol, _ in runs:
            freq[symbol] += 1
        lengths = _Tree(freq, None, _REPEAT_EXTRA, 0, 7)
        used = max(index for index in range(LENGTHS) if index < 4 or lengths.codes.lengths[_ORDER[index]])
        best = (literals.best + distances.best + lengths.best + 3 * (used + 1) + 14 + 10) // 8
        fixed = (literals.fixed + distances.fixed + 10) // 8
        best = min(best, fixed)
        if plain is not None and len(plain) + 4 <= best:
            out.put(int(last), 3)
            out.align()
            out.put_bytes(len(plain).to_bytes(2, "little") + (len(plain) ^ 0xFFFF).to_bytes(2, "little") + plain)
        elif fixed == best:
            out.put(2 + last, 3)
            self._put(FIXED_LITERALS, FIXED_DISTANCES, out)
        else:
            out.put(4 + last, 3)
            out.put(literals.codes.last - 256, 5)
            out.put(distances.codes.last, 5)
            out.put(used - 3, 4)
            for index in range(used + 1):
                out.put(lengths.codes.lengths[_ORDER[index]], 3)
            for symbol, repeats in runs:
                out.put(lengths.codes.bits[symbol], lengths.codes.lengths[symbol])
                out.put(repeats, _REPEAT_EXTRA[symbol])
            self._put(literals.codes, distances.codes, out)
        if last:
            out.align()

    def _put(self, literals: Codes, distances: Codes, out: BitWriter) -> None:
        for distance, length in self._symbols:
            if not distance:
                out.put(literals.bits[length], literals.lengths[length])
                continue
            code, rest = _LENGTH_CODE[length]
            out.put(literals.bits[code + 257], literals.lengths[code + 257])
            out.put(rest, LENGTH_EXTRA[code])
            code, rest = _DISTANCE_CODE[distance - 1]
            out.put(distances.bits[code], distances.lengths[code])
            out.put(rest, DISTANCE_EXTRA[code])
        out.put(literals.bits[END_OF_BLOCK], literals.lengths[END_OF_BLOCK])


def _runs(codes: Codes) -> list[tuple[int, int]]:
    """Return the code lengths as the code length alphabet has them: a symbol and the value of its extra bits."""
    runs: list[tuple[int, int]] = []
    previous, count = -1, 0
    most, least = (7, 4) if codes.lengths[0] else (138, 3)
    for n in range(codes.last + 1):
        here = codes.lengths[n]
        following = codes.lengths[n + 1] if n < codes.last else -1
        count += 1
        if count < most and here == following:
            continue
        if count < least:
            runs += [(here, 0)] * count
        elif here:
            if here != previous:
                runs.append((here, 0))
                count -= 1
            runs.append((16, count - 3))
        else:
            runs.append((17, count - 3) if count <= 10 else (18, count - 11))
        previous, count = here, 0
        most, least = (138, 3) if not following else (6, 3) if here == following else (7, 4)
    return runs
