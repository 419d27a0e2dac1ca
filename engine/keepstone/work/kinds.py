"""What a file is to people, by its name alone, and which container its recipe makes again.

Names, not contents: looking into every file would mean to read the repository. What wraps a file is taken off its name
first, so `msgstore.db.crypt15` is a chat database and `letters.txt.gz` is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from keepstone.history import expression
from keepstone.history.recipe import Recipe, is_list

PHOTOS, VIDEOS, AUDIO, DOCUMENTS, CHATS, EXPORTS, DATABASES, TEXT, ARCHIVES, OTHER = TYPES = (
    "photos",
    "videos",
    "audio",
    "documents",
    "chat databases",
    "chat exports",
    "other databases",
    "text and code",
    "archives",
    "other",
)
NONE, CRYPT12, CRYPT14, CRYPT15, SIGNAL, SMS, ZIP, GZIP, ZLIB, TAR = CONTAINERS = (
    "none",
    "crypt12",
    "crypt14",
    "crypt15",
    "signal",
    "sms-xml",
    "zip",
    "gzip",
    "zlib",
    "tar",
)

_CHAT_DATABASE = re.compile(
    rb"(msgstore|wa|chatsettings|axolotl|companion_devices|sync|backup_settings|stickers)\b.*\.(db|json)\b"
    rb"|(chatstorage|sms|mmssms|chat|telephony|threads_db2)\.(db|sqlite)$|signal.*\.(backup|db|sqlite)$"
)
"""Names that WhatsApp, Signal, Apple's Messages and Android's telephony give their databases."""
_CHAT_EXPORT = re.compile(
    rb"(sms|calls|mms|messages)[-_.].*\.(xml|json|html|csv)$|_chat\.txt$|whatsapp chat.*\.(txt|zip)$"
)
"""SMS Backup & Restore's dumps, and what WhatsApp's "Export chat" makes."""
_WRAPPED = re.compile(rb"(\.(crypt\d+|gz|zst|xz|bz2))+$")

_SUFFIXES: Mapping[str, str] = {
    PHOTOS: "jpg jpeg jpe png gif webp heic heif avif bmp tif tiff dng raw cr2 cr3 nef arw orf rw2 svg psd",
    VIDEOS: "mp4 m4v mov mkv webm avi 3gp 3g2 mts m2ts mpg mpeg wmv",
    AUDIO: "opus ogg oga mp3 m4a aac flac wav amr wma aiff caf mid",
    DOCUMENTS: "pdf doc docx odt rtf xls xlsx ods ppt pptx odp epub mobi vcf ics eml mbox pages numbers key",
    DATABASES: "db sqlite sqlite3 db3 mdb db-wal db-shm",
    TEXT: "txt md csv tsv json xml html htm css log ini toml yaml yml tex rst py c h cc cpp hpp js ts java kt rs go sh "
    "rb php sql swift patch diff",
    ARCHIVES: "zip tar tgz 7z rar jar apk iso dmg cab deb rpm",
}
_TYPE_OF = {b"." + suffix.encode(): kind for kind, text in _SUFFIXES.items() for suffix in text.split()}
_SURE = frozenset((PHOTOS, VIDEOS, AUDIO, DOCUMENTS))
"""Types that a suffix tells, whatever the rest of a name is."""


def type_of(name: bytes) -> str:
    """Return the type of a file by its name, one of `TYPES`."""
    lower = name.lower()
    found = _TYPE_OF.get(lower[lower.rfind(b".") :])
    if found in _SURE:
        return found
    if _CHAT_EXPORT.search(lower):
        return EXPORTS
    if _CHAT_DATABASE.match(lower):
        return CHATS
    inside = _WRAPPED.sub(b"", lower)
    found = _TYPE_OF.get(inside[inside.rfind(b".") :])
    return found or (ARCHIVES if inside != lower else OTHER)


def container_of(name: bytes, recipe: Recipe) -> str:
    """Return which container a recipe makes, one of `CONTAINERS`: what its outermost node and that node's parts say.

    Args:
        name: the file's; it tells versions apart that have the same recipe.
        recipe: its outermost node, fetched; see `expression.outermost`.
    """
    if is_list(recipe) or recipe[0] == expression.LITERAL:
        return NONE
    parts = [recipe] if recipe[0] != expression.CONCAT else expression.parts(recipe)
    found = [part for part in parts if not is_list(part)]
    for part in found:
        if part[0] in (expression.SIGNAL_FRAMES, expression.SIGNAL_ARCHIVE):
            return SIGNAL
        if part[0] == expression.AES_GCM:
            suffix = name.lower().rpartition(b".")[2].decode("ascii", "replace")
            return suffix if suffix in (CRYPT12, CRYPT14) else CRYPT15
        if part[0] == expression.BASE64:
            return SMS
    first = parts[0][1] if parts and parts[0][0] == expression.LITERAL else b""
    if isinstance(first, bytes) and first[:2] == b"\x1f\x8b":
        return GZIP
    if isinstance(first, bytes) and first[:2] == b"PK":
        return ZIP
    deflated = [part for part in found if part[0] in (expression.DEFLATE, expression.DEFLATE_SECTIONS)]
    if not deflated or name.lower().endswith(b".tar"):
        return TAR
    return ZLIB if deflated[0] is parts[0] else ZIP
