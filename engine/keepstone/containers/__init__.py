"""Containers: file formats that hide their content from dedup, unwrapped so that they can be rebuilt byte for byte.

General layout: `unwrap` recognises a format and returns a proven expression (`nodes`); `leaves` reads the plaintext
that is to be stored; `rebuild` and `encode` make the original bytes of it again. One module for each format (`zips`,
`streams`, `tar`, `sms`, `whatsapp`, `signal`, `signal_folder`) finds the transforms; `matching` finds deflate settings;
`transforms` holds the transforms themselves, which a restore needs and nothing else.

This package knows bytes. It knows no paths, no repositories and no recipes. Where a format tells nothing by its bytes,
`companion_of` names the file beside it whose bytes do, and the caller hands those over.
"""

from keepstone.containers.context import HEAD, Budget, Patience, Report
from keepstone.containers.keys import Keys, SignalKey, SignalRecoveryKey, WhatsAppKey
from keepstone.containers.nodes import (
    AesGcm,
    Base64,
    Concat,
    Deflate,
    DeflateSettings,
    Literal,
    Node,
    SignalArchive,
    SignalFrames,
    Span,
    Transform,
    length,
    spans,
)
from keepstone.containers.reading import Leaf, leaves, rebuild
from keepstone.containers.signal import parse_passphrase
from keepstone.containers.signal_folder import METADATA_LIMIT, companion_of, looks_like_metadata, parse_recovery_key
from keepstone.containers.source import Broken, FileSource, MemorySource, Source
from keepstone.containers.transforms import decode, encode
from keepstone.containers.unwrap import Unwrapped, recognise, unwrap
from keepstone.containers.whatsapp import parse_key

__all__ = [
    "AesGcm", "Base64", "Broken", "Budget", "Concat", "Deflate", "DeflateSettings", "FileSource",
    "HEAD", "Keys", "Leaf", "Literal", "METADATA_LIMIT", "MemorySource", "Node", "Patience", "Report",
    "SignalArchive", "SignalFrames", "SignalKey", "SignalRecoveryKey", "Source", "Span", "Transform", "Unwrapped",
    "WhatsAppKey", "companion_of", "decode", "encode", "leaves", "length", "looks_like_metadata", "parse_key",
    "parse_passphrase", "parse_recovery_key", "rebuild", "recognise", "spans", "unwrap",
]  # fmt: skip
