"""The layout of a repository: object kinds, their names, their common header, the config, and every limit.

`docs/format.md` is the normative text; this module is its table of constants.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

import msgspec

from keepstone import encoding, sealing
from keepstone.chunking import ALGORITHMS
from keepstone.errors import Damaged, Unsupported
from keepstone.hashing import SubKeys, stored_name
from keepstone.ids import ID_LENGTH, Buffer, KeyslotId, PackId, RepositoryId, WriterId

VERSION = 1
MAGIC = b"KEEPSTON"

CONFIG, KEYSLOT, PACK, INDEX, LOG, LOCAL = 1, 2, 3, 4, 5, 6
KIND_NAMES = {
    CONFIG: "config",
    KEYSLOT: "keyslot",
    PACK: "pack",
    INDEX: "index",
    LOG: "log",
    LOCAL: "local record",
}

PACK_TARGET = 32 * 1024 * 1024
PACK_STEP = 64 * 1024
"""A full pack (at least `PACK_TARGET`) is padded to a multiple of this; a smaller one to a Padmé class."""
FRAME_TARGET = 1024 * 1024
READ_ALIGNMENT = 64 * 1024

# Limits: checked before memory is taken.
MAX_CHUNK = 16 * 1024 * 1024
MAX_FRAME = 32 * 1024 * 1024
MAX_FRAMES = 65_535
MAX_BASES = 1024
WRITTEN_DEPTH, MAX_DEPTH = 32, 64
"""How deep delta frames stand on delta frames: what this version writes at most, and what every version reads."""
CLIMB_UNIT = 16 * 1024
WRITTEN_CLIMB, MAX_CLIMB = 4096, 8192
"""The same for all that a reader holds while it opens one chunk: each base, and all that it stands on, once each, in
units of `CLIMB_UNIT` that are begun."""
JOINED_BYTES = 4 * 1024
"""So much a writer seals together: who reads one frame of it opens all."""
MAX_JOINED_BYTES, MAX_JOINED = 64 * 1024, 1024
"""So much a reader lets the frames before the last one of a seal hold, and so many there may be with the last."""
MAX_CHUNKS_IN_FRAME = 65_535
MAX_PACK = 256 * 1024 * 1024
MAX_DIRECTORY = 32 * 1024 * 1024
MAX_SMALL_OBJECT = 1024 * 1024
"""Config, keyslot and log objects."""
MAX_INDEX_OBJECT = 64 * 1024 * 1024
MAX_KEYSLOTS = 32

CONFIG_NAME = "config"

_HEADER = struct.Struct("<8sBBBBI16s")
HEADER_LENGTH = _HEADER.size  # 32


@dataclass(frozen=True, slots=True)
class Header:
    """The first 32 bytes of every object."""

    kind: int
    algorithm: int
    repository: RepositoryId
    epoch: int = 0

    def pack(self) -> bytes:
        return _HEADER.pack(MAGIC, VERSION, self.kind, self.algorithm, 0, self.epoch, self.repository)


def parse_header(data: Buffer, kind: int, name: str, repository: RepositoryId | None = None) -> Header:
    """Read and check the header of an object.

    Raises:
        Unsupported: it was written in a newer format.
        Damaged: it is no object of this kind and repository.
    """
    if len(data) < HEADER_LENGTH:
        raise Damaged(name, "it is shorter than its header")
    magic, version, found, algorithm, zero, epoch, owner = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise Damaged(name, "it does not begin as an object of Keepstone")
    if version != VERSION or zero != 0:
        raise Unsupported(name, f"is written in format {version}; this version of Keepstone knows format {VERSION}")
    if found != kind:
        raise Damaged(name, f"it is a {KIND_NAMES.get(found, 'strange')} object where a {KIND_NAMES[kind]} belongs")
    if repository is not None and owner != repository:
        raise Damaged(name, "it belongs to another repository")
    if epoch != 0:
        raise Unsupported(name, f"uses key epoch {epoch}, which this version of Keepstone does not know")
    if algorithm not in sealing.ALGORITHMS.values():
        raise Unsupported(name, f"is encrypted with algorithm {algorithm}, which this version does not know")
    return Header(found, algorithm, RepositoryId(owner), epoch)


# Names ------------------------------------------------------------------------------------------------------


def pack_name(pack: PackId) -> str:
    return f"packs/{pack.hex()[:2]}/{pack.hex()}"


def index_name(data_hash: bytes) -> str:
    return f"index/{data_hash.hex()}"


def keyslot_name(slot: KeyslotId) -> str:
    return f"keyslots/{slot.hex()}"


def log_name(writer: WriterId, sequence: int) -> str:
    return f"log/{writer.hex()}/{sequence:016x}"


_PACK_NAME = re.compile(r"packs/([0-9a-f]{2})/(\1[0-9a-f]{62})")
_LOG_NAME = re.compile(r"log/([0-9a-f]{32})/([0-9a-f]{16})")


_OTHER_NAME = re.compile(r"keyslots/[0-9a-f]{32}|index/[0-9a-f]{64}")


def is_other_name(name: str) -> bool:
    """Return whether a keyslot or an index object may have this name."""
    return _OTHER_NAME.fullmatch(name) is not None


def pack_of_name(name: str) -> PackId | None:
    """Return the id of a pack by its name, or None if it is no pack's name."""
    match = _PACK_NAME.fullmatch(name)
    return PackId(bytes.fromhex(match[2])) if match else None


def log_of_name(name: str) -> tuple[WriterId, int] | None:
    """Return writer and sequence of a log record by its name, or None."""
    match = _LOG_NAME.fullmatch(name)
    return (WriterId(bytes.fromhex(match[1])), int(match[2], 16)) if match else None


# Config -----------------------------------------------------------------------------------------------------


class ChunkerConfig(encoding.Record, rename={"algorithm": "a"}, kw_only=True):
    """Which chunker cuts this repository."""

    algorithm: str


class Config(encoding.Record, kw_only=True):
    """What is decided at init, once."""

    version: int = msgspec.field(name="v")
    chunker: ChunkerConfig = msgspec.field(name="c")
    cipher: int = msgspec.field(name="a")
    keyslots: list[bytes] = msgspec.field(name="k")
    """The keyslots the repository was created with."""
    created_ns: int = msgspec.field(name="t")
    features: list[str] = msgspec.field(name="f", default_factory=list)
    """Names a reader must know; any it does not know makes the repository unsupported."""


_config_decoder = msgspec.msgpack.Decoder(Config)


def seal_config(config: Config, keys: SubKeys, repository: RepositoryId) -> bytes:
    """Return the stored bytes of the config object."""
    header = Header(CONFIG, config.cipher, repository).pack()
    stored = header + sealing.seal(keys.config, config.cipher, header, encoding.encode(config))
    return stored + stored_name(stored)


def parse_config(data: bytes) -> Header:
    """Check a stored config as far as needs no key: before that, it says which repository this is.

    Raises:
        Damaged: it is not what was written.
    """
    if len(data) < HEADER_LENGTH + ID_LENGTH or stored_name(data[:-ID_LENGTH]) != data[-ID_LENGTH:]:
        raise Damaged(CONFIG_NAME, "it is cut off or was altered")
    return parse_header(data, CONFIG, CONFIG_NAME)


def open_config(data: bytes, keys: SubKeys) -> Config:
    """Open the config object and check that this version can use the repository."""
    header = parse_config(data)
    sealed = memoryview(data)[HEADER_LENGTH:-ID_LENGTH]
    body = sealing.unseal(keys.config, header.algorithm, data[:HEADER_LENGTH], sealed, CONFIG_NAME)
    config = encoding.decode(_config_decoder, body, CONFIG_NAME)
    if config.version != VERSION or config.features or config.chunker.algorithm not in ALGORITHMS:
        raise Unsupported(CONFIG_NAME, "asks for features that this version of Keepstone does not know")
    return config
