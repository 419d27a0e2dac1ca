"""Whether a file that stands in the target is the container that a snapshot holds, told without fetching its content.

The file is unwrapped as a backup would, which proves that its bytes come of what is inside it; then the expression and
the ids of the chunks inside are compared with the snapshot's. Only the recipe is read from the repository. A no means
only that nothing was proven: a container that another version unwrapped in another way is simply written once more.
"""

from __future__ import annotations

from keepstone import encoding
from keepstone.containers import HEAD, Broken, Keys, Leaf, leaves, recognise, unwrap
from keepstone.errors import ContainerKeyMissing
from keepstone.hashing import chunk_id
from keepstone.history import expression
from keepstone.history.recipe import Recipe, pieces
from keepstone.repo.repository import Repository
from keepstone.work.target import Standing


class _Differs(Exception):
    """A leaf is not the one of the snapshot."""


class _Source:
    """A standing file as containers are read."""

    parallel = False

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self.size = standing.size

    def read_at(self, offset: int, length: int) -> bytes:
        return self._standing.read(offset, max(0, min(length, self.size - offset)))


def unwraps_to(
    content: bytes, standing: Standing, repository: Repository, name: str, keys: Keys, companion: bytes = b""
) -> bool:
    """Return whether a standing file was proven to be what a container's recipe makes.

    Args:
        companion: as `unwrap` has it.

    Raises:
        Damaged, Unsupported: the recipe cannot be read.
    """
    source = _Source(standing)
    if not companion and not recognise(source.read_at(0, HEAD)):
        return False
    node = unwrap(source, keys, companion=companion).node
    if node is None:
        return False
    wanted = expression.leaves(content, repository, name)

    def compare(leaf: Leaf) -> bytes:
        if not leaf.length:
            return b""  # As it is stored; no recipe has a leaf for it.
        recipe = next(wanted, None)
        if recipe is None or not _has_chunks(leaf, recipe, repository, name):
            raise _Differs
        return encoding.encode(recipe)

    try:
        found = expression.value(node, leaves(node, source, keys), compare, name)
    except (_Differs, Broken, ContainerKeyMissing):
        return False
    return found == expression.outermost(content, repository, name)


def _has_chunks(leaf: Leaf, recipe: Recipe, repository: Repository, name: str) -> bool:
    """Return whether a leaf is, piece by piece, what a list says."""
    stream, key, left = leaf.reader(), repository.keys.chunk_id, leaf.length
    buffer = bytearray()
    for piece in pieces(recipe, repository, name):
        left -= piece.length
        if left < 0:
            return False
        if piece.is_hole:
            return False  # What is inside a container has none.
        if len(buffer) < piece.length:
            buffer = bytearray(piece.length)
        view, filled = memoryview(buffer)[: piece.length], 0
        while filled < piece.length and (read := stream.readinto(view[filled:])):
            filled += read
        if filled < piece.length or chunk_id(key, view) != piece.chunk:
            return False
    return left == 0
