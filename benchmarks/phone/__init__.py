"""A phone to measure backups with: it lives day by day in a folder, from a seed, as large as wanted.

General layout: `life` is the phone and its days; `whatsapp` its database (`schema`), `container` the encrypted form;
`sms`, `signal`, `signal_folder` and `documents` what other programs write; `media` the bytes that do not compress;
`people` and `text` who talks and in which words; `pages` counts what a day changed.

The same seed gives the same bytes in every file, with two exceptions: pages of the database are as this SQLite lays
them out, and deflate streams as this zlib writes them.
"""

from .life import MORE_PARTS, PARTS, Habits, Phone, Today, parse_size
from .pages import Changes, Pages

__all__ = ["MORE_PARTS", "PARTS", "Changes", "Habits", "Pages", "Phone", "Today", "parse_size"]
