"""Recipes beyond piece lists: how a container's bytes come from the plaintext that was inside it.

An expression is a small tree: its leaves are piece lists, its other nodes join, or apply a transform that was proven
to give the original bytes. A long expression is stored like data itself. Everything is read in one pass, front to
back, and in memory that does not grow with the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any, cast

from keepstone import encoding
from keepstone.chunking import Chunker
from keepstone.containers import (
    AesGcm,
    Base64,
    Concat,
    Deflate,
    DeflateSettings,
    Keys,
    Leaf,
    Literal,
    Node,
    SignalArchive,
    SignalFrames,
    Span,
    Transform,
    encode,
)
from keepstone.errors import Unsupported
from keepstone.history import recipe as lists
from keepstone.history.recipe import AddChunk, ChunkReader, Piece, PieceWriter, Recipe, decode, is_list
from keepstone.ids import ChunkId

CONCAT, LITERAL, STORED = 2, 3, 4
DEFLATE, AES_GCM, BASE64, SIGNAL_FRAMES, DEFLATE_SECTIONS, SIGNAL_ARCHIVE = 16, 17, 18, 19, 20, 21
MAX_NESTING = 16
MAX_LITERAL = 64 * 1024

_U32 = struct.Struct("<I")
_NOWHERE = Span(0, 0)
"""A node that is read back stands for no run of a source."""


# Reading ----------------------------------------------------------------------------------------------------


def read(recipe: bytes, reader: ChunkReader, name: str, keys: Keys) -> Iterator[bytes]:
    """Yield the bytes of any recipe.

    Raises:
        Unsupported: it uses an expression that this version does not know.
        Damaged: a chunk of it is missing or damaged.
        ContainerKeyMissing: a container's key is needed and not at hand.
    """
    return _read(decode(recipe, name), reader, name, keys, 0)


def leaves(recipe: bytes, reader: ChunkReader, name: str) -> Iterator[Recipe]:
    """Yield the piece lists of any recipe, in the order in which they are read. Errors as `read`."""
    return _leaves(decode(recipe, name), reader, name, 0, lambda stored: iter(()))


def chunks_of_recipe(recipe: bytes, reader: ChunkReader, name: str, size: int | None = None) -> Iterator[ChunkId]:
    """Yield every chunk any recipe needs, those of its own lists and stored expressions too. Errors as `read`.

    Args:
        size: the file's length.
    """
    value = decode(recipe, name)
    if is_list(value):
        yield from lists.chunks_of_list(value, reader, name, size)
        return
    for leaf in _leaves(value, reader, name, 0, lambda stored: iter([stored])):
        yield from lists.chunks_of_list(leaf, reader, name)


def all_pieces(recipe: bytes, reader: ChunkReader, name: str) -> Iterator[Piece]:
    """Yield the pieces of all leaves of any recipe, one after another. Errors as `read`."""
    for leaf in leaves(recipe, reader, name):
        yield from lists.pieces(leaf, reader, name)


def innermost(recipe: bytes, reader: ChunkReader, name: str) -> Recipe | None:
    """Return what is inside all transforms of an expression that has one transform at each level, else None.

    That is a piece list, or several joined, where parts of the stream are kept apart. A text with one photo in base64
    and an archive of one file have one transform as well; they are no such streams.

    Raises:
        Unsupported: it uses an expression that this version does not know.
        Damaged: a chunk of it is missing or damaged.
    """
    value, within = decode(recipe, name), False
    for depth in range(MAX_NESTING):
        if is_list(value):
            return value if within else None
        value = _resolved(value, reader, name, depth)
        if value[0] == CONCAT:
            parts = _parts(value, name)
            transforms = [part for part in parts if not is_list(part) and part[0] != LITERAL]
            if within and not transforms:
                return value
            if len(transforms) != 1 or (parts[0][0] == LITERAL and _literal(parts[0], name).startswith(b"PK")):
                return None
            (value,) = transforms
        elif value[0] in (LITERAL, BASE64):
            return None
        else:
            within, value = True, _transform(value, name)[1]
    return None


def outermost(recipe: bytes, reader: ChunkReader, name: str) -> Recipe:
    """Return the outermost node of any recipe, fetched if it is stored. Errors as `read`."""
    return _resolved(decode(recipe, name), reader, name, 0)


def parts(node: Recipe) -> list[Recipe]:
    """Return what a `CONCAT` joins. Errors as `read`."""
    return _parts(node, "A recipe")


def literal(node: Recipe, name: str) -> bytes:
    """Return what a `LITERAL` stands for. Errors as `read`."""
    return _literal(node, name)


def inside_deflate(node: Recipe, name: str) -> Recipe | None:
    """Return what is inside a deflate stream; None for any other node. Errors as `read`."""
    return _transform(node, name)[1] if node[0] in (DEFLATE, DEFLATE_SECTIONS) else None


def inside_base64(node: Recipe, name: str) -> Recipe | None:
    """Return what is inside base64 without lines; None for any other node. Errors as `read`."""
    if node[0] != BASE64:
        return None
    transform, inner = _transform(node, name)
    return None if isinstance(transform, Base64) and transform.line_length else inner


def _read(value: Recipe, reader: ChunkReader, name: str, keys: Keys, depth: int) -> Iterator[bytes]:
    if is_list(value):
        return lists.read_list(value, reader, name)
    value = _resolved(value, reader, name, depth)
    if value[0] == LITERAL:
        return iter([_literal(value, name)])
    if value[0] == CONCAT:
        parts = _parts(value, name)
        return (data for part in parts for data in _read(part, reader, name, keys, depth + 1))
    transform, inner = _transform(value, name)
    return encode(transform, _read(inner, reader, name, keys, depth + 1), keys)


def _leaves(
    value: Recipe, reader: ChunkReader, name: str, depth: int, of_stored: Callable[[Recipe], Iterator[Recipe]]
) -> Iterator[Recipe]:
    """Yield the leaves below a node; `of_stored` says what to yield for a stored expression's own piece list."""
    if is_list(value):
        yield value
        return
    if value[0] == STORED:
        yield from of_stored(_recipe(value[1:], name))
    value = _resolved(value, reader, name, depth)
    if value[0] == LITERAL:
        return
    parts = _parts(value, name) if value[0] == CONCAT else [_transform(value, name)[1]]
    for part in parts:
        yield from _leaves(part, reader, name, depth + 1, of_stored)


def _resolved(value: Recipe, reader: ChunkReader, name: str, depth: int) -> Recipe:
    """Return an expression, fetched if it is a stored one."""
    if depth > MAX_NESTING:
        raise Unsupported(name, "has a recipe nested deeper than the format allows")
    if value[0] != STORED:
        return value
    body = bytearray()
    for data in lists.read_list(_recipe(value[1:], name), reader, name):
        body += data
        if len(body) > lists.MAX_RECIPE:
            raise Unsupported(name, "has a recipe longer than the format allows")
    found = decode(bytes(body), name)
    if found[0] == STORED or is_list(found):
        raise Unsupported(name, "has a stored recipe that is none")
    return found


def _transform(value: Recipe, name: str) -> tuple[Transform, Recipe]:
    """Return a transform and the recipe of its inner bytes."""
    shape, make = _TRANSFORMS.get(cast(int, value[0]), ((), None))
    *arguments, inner = value[1:] or [None]
    fits = len(arguments) == len(shape) and all(
        type(argument) is kind for argument, kind in zip(arguments, shape, strict=True)
    )
    try:
        if make is not None and fits:
            return make(*arguments), _recipe([inner], name)
    except struct.error:
        pass
    raise Unsupported(name, f"has a recipe of kind {value[0]}, which this version of Keepstone does not know")


def _deflate_sections(*arguments: Any) -> Transform:
    *settings, lengths = arguments
    sections = tuple(length for (length,) in _U32.iter_unpack(lengths))
    return Deflate(_NOWHERE, DeflateSettings(*settings), _NOWHERE, sections)


_TRANSFORMS: dict[int, tuple[tuple[type, ...], Callable[..., Transform]]] = {
    DEFLATE: ((int,) * 5, lambda *settings: Deflate(_NOWHERE, DeflateSettings(*settings), _NOWHERE)),
    AES_GCM: ((bytes, bytes, bytes, int), lambda ref, iv, aad, tag: AesGcm(_NOWHERE, ref, iv, aad, tag, _NOWHERE)),
    BASE64: ((int, int, bytes), lambda alphabet, line, end: Base64(_NOWHERE, alphabet, line, end, _NOWHERE)),
    SIGNAL_FRAMES: (
        (bytes, bytes, bytes, int),
        lambda ref, salt, iv, version: SignalFrames(_NOWHERE, ref, salt, iv, version, _NOWHERE),
    ),
    DEFLATE_SECTIONS: ((*(int,) * 5, bytes), _deflate_sections),
    SIGNAL_ARCHIVE: (
        (bytes, bytes, bytes),
        lambda ref, backup_id, iv: SignalArchive(_NOWHERE, ref, backup_id, iv, _NOWHERE),
    ),
}
"""Types of the arguments before the inner recipe, and what makes the node of them."""


def _recipe(values: list[object], name: str) -> Recipe:
    if len(values) != 1 or not isinstance(values[0], list) or not values[0] or not isinstance(values[0][0], int):
        raise Unsupported(name, "has a recipe that this version of Keepstone does not know")
    return values[0]


def _parts(value: Recipe, name: str) -> list[Recipe]:
    if len(value) != 2 or not isinstance(value[1], list):
        raise Unsupported(name, "has a recipe that this version of Keepstone does not know")
    return [_recipe([part], name) for part in value[1]]


def _literal(value: Recipe, name: str) -> bytes:
    if len(value) != 2 or not isinstance(value[1], bytes) or len(value[1]) > MAX_LITERAL:
        raise Unsupported(name, "has a recipe that this version of Keepstone does not know")
    return value[1]


# Writing ----------------------------------------------------------------------------------------------------


def write(
    node: Node, leaves: Iterator[Leaf], store: Callable[[Leaf], bytes], add: AddChunk, chunker: Chunker, name: str
) -> bytes:
    """Store the leaves of a proven expression and return its recipe.

    Args:
        store: stores a leaf and returns its recipe.
        add: stores a chunk of the expression itself, cut by `chunker`, if it is long.
    """
    encoded = encoding.encode(value(node, leaves, store, name))
    if len(encoded) <= lists.INLINE_LIMIT:
        return encoded
    writer = PieceWriter(add, chunker)
    start = 0
    for end in chunker.cuts(encoded, final=True):
        writer.append(add(encoded[start:end]), end - start)
        start = end
    return encoding.encode([STORED, decode(writer.finish(), name)])


def value(node: Node, leaves: Iterator[Leaf], store: Callable[[Leaf], bytes], name: str) -> Recipe:
    """Return the outermost node of an expression's recipe. Arguments as `write`."""
    if isinstance(node, Span):
        recipe = store(next(leaves))
        return decode(recipe, name) if recipe else [LITERAL, b""]
    if isinstance(node, Literal):
        return [LITERAL, node.data]
    if isinstance(node, Concat):
        return [CONCAT, [value(part, leaves, store, name) for part in node.parts]]
    inner = value(node.inner, leaves, store, name)
    if isinstance(node, Deflate):
        s = node.settings
        settings = [s.encoder, s.level, s.wbits, s.mem_level, s.strategy]
        if node.sections:
            return [DEFLATE_SECTIONS, *settings, b"".join(map(_U32.pack, node.sections)), inner]
        return [DEFLATE, *settings, inner]
    if isinstance(node, AesGcm):
        return [AES_GCM, node.key_ref, node.iv, node.aad, node.tag_length, inner]
    if isinstance(node, Base64):
        return [BASE64, node.alphabet, node.line_length, node.line_end, inner]
    if isinstance(node, SignalArchive):
        return [SIGNAL_ARCHIVE, node.key_ref, node.backup_id, node.iv, inner]
    return [SIGNAL_FRAMES, node.key_ref, node.salt, node.iv, node.version, inner]
