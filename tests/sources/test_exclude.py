"""Patterns mean what the manual says."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keepstone.errors import UsageError
from keepstone.sources.exclude import CACHE_TAG, Exclusions, is_tagged_cache, parse_exclude_file

F, D = False, True

TABLE: list[tuple[list[str | bytes], bytes, bool, bool]] = [
    # A pattern without a slash: the name, anywhere.
    (["*.tmp"], b"/a/b.tmp", F, True),
    (["*.tmp"], b"/b.tmp", F, True),
    (["*.tmp"], b"/a/b.tmp/c", F, False),
    (["*.tmp"], b"/a/b.tmpx", F, False),
    (["node_modules"], b"/x/node_modules", D, True),
    (["node_modules"], b"/x/my_node_modules", D, False),
    (["*"], b"/anything", F, True),
    ([".*"], b"/home/.cache", D, True),
    ([".*"], b"/home/cache", D, False),
    # A leading slash: the whole path.
    (["/a/b"], b"/a/b", F, True),
    (["/a/b"], b"/x/a/b", F, False),
    (["/a/b"], b"/a/b/c", F, False),
    (["/a/*"], b"/a/b", F, True),
    (["/a/*"], b"/a/b/c", F, False),
    (["/a"], b"/a", D, True),
    (["/a"], b"/b/a", D, False),
    # A slash inside: the last components, from any folder on.
    (["a/b"], b"/a/b", F, True),
    (["a/b"], b"/x/y/a/b", F, True),
    (["a/b"], b"/x/ya/b", F, False),
    (["a/b"], b"/a/x/b", F, False),
    (["./a/b"], b"/x/a/b", F, True),
    # Two stars: any number of components.
    (["/a/**/b"], b"/a/b", F, True),
    (["/a/**/b"], b"/a/x/b", F, True),
    (["/a/**/b"], b"/a/x/y/z/b", F, True),
    (["/a/**/b"], b"/c/a/b", F, False),
    (["/a/**/b"], b"/ab", F, False),
    (["**/b"], b"/a/x/b", F, True),
    (["**/b"], b"/b", F, True),
    (["a/**/b"], b"/q/a/x/b", F, True),
    (["/a/**"], b"/a/x/y", F, True),
    (["/a/**"], b"/b/x", F, False),
    (["/a/**/**/b"], b"/a/b", F, True),
    (["a**b"], b"/axxb", F, True),
    # Wildcards stay within a component.
    (["/a?b"], b"/a/b", F, False),
    (["/a?b"], b"/axb", F, True),
    (["/a[!x]b"], b"/a/b", F, False),
    (["/a[a-z/]b"], b"/a/b", F, False),
    (["f[0-9].txt"], b"/f7.txt", F, True),
    (["f[0-9].txt"], b"/fx.txt", F, False),
    (["f[!0-9].txt"], b"/fx.txt", F, True),
    (["f[^0-9].txt"], b"/f7.txt", F, False),
    (["f[]x]"], b"/f]", F, True),
    (["f[a-]"], b"/f-", F, True),
    (["f[z-a]"], b"/fm", F, False),
    (["f[.+*]"], b"/f+", F, True),
    (["f["], b"/f[", F, True),
    (["a.b"], b"/axb", F, False),
    (["(a|b)+$"], b"/(a|b)+$", F, True),
    # A backslash makes the next byte literal.
    ([r"\*"], b"/*", F, True),
    ([r"\*"], b"/x", F, False),
    ([r"\!keep"], b"/!keep", F, True),
    (["end\\"], b"/end\\", F, True),
    # A trailing slash: folders only.
    (["build/"], b"/x/build", D, True),
    (["build/"], b"/x/build", F, False),
    (["/x/build/"], b"/x/build", D, True),
    (["/x/build/"], b"/x/build", F, False),
    # The last pattern that matches decides.
    (["*.log", "!keep.log"], b"/keep.log", F, False),
    (["*.log", "!keep.log"], b"/other.log", F, True),
    (["!keep.log", "*.log"], b"/keep.log", F, True),
    (["*.log", "!keep.log", "/z/keep.log"], b"/z/keep.log", F, True),
    (["*.log", "!keep.log", "/z/keep.log"], b"/y/keep.log", F, False),
    (["!x"], b"/y", F, False),
    # Names are bytes.
    ([b"\xff*"], b"/\xff\xfe", F, True),
    (["caf\u00e9"], "/caf\u00e9".encode(), F, True),
    (["?"], b"/\xff", F, True),
    (["*.txt"], b"/a\nb.txt", F, True),
    (["a"], b"/a\n", F, False),
    (["a/b"], b"/a/b\n", F, False),
    # Nothing.
    ([], b"/a", F, False),
    (["*"], b"/", D, False),
]


@pytest.mark.parametrize(("patterns", "path", "is_folder", "expected"), TABLE)
def test_patterns_mean_what_the_manual_says(
    patterns: list[str | bytes], path: bytes, is_folder: bool, expected: bool
) -> None:
    assert Exclusions(patterns).excluded(path, is_folder) is expected


@pytest.mark.parametrize("pattern", ["", "/", "//", "!", "!/", ".", "a\0b", "x" * 20_000])
def test_a_pattern_that_names_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(UsageError):
        Exclusions([pattern])


@given(st.lists(st.binary(min_size=1, max_size=12), max_size=4), st.binary(max_size=20), st.booleans())
def test_any_bytes_are_a_pattern_or_refused(patterns: list[bytes], path: bytes, is_folder: bool) -> None:
    try:
        exclusions = Exclusions(patterns)
    except UsageError:
        return
    assert exclusions.excluded(b"/" + path, is_folder) in (True, False)


@given(st.binary(min_size=1, max_size=12).filter(lambda n: not set(n) & set(b"/\0") and n not in (b".", b"..")))
def test_every_name_can_be_written_as_a_literal_pattern(name: bytes) -> None:
    literal = b"".join(b"\\" + bytes([byte]) for byte in name)
    assert Exclusions([literal]).excluded(b"/x/" + name, False)
    assert not Exclusions([literal]).excluded(b"/x/" + name + b"z", False)


def test_a_pattern_of_many_stars_does_not_take_for_ever() -> None:
    exclusions = Exclusions(["*a*a*a*a*a*a*a*a*b", "/**/a/**/a/**/a/**/b"])
    started = time.perf_counter()
    assert not exclusions.excluded(b"/" + b"a" * 250, False)
    assert not exclusions.excluded(b"/a" * 60, False)
    assert time.perf_counter() - started < 2


def test_equal_patterns_make_equal_exclusions_with_a_telling_form() -> None:
    one, other = Exclusions(["*.tmp", b"/x"]), Exclusions([b"*.tmp", "/x"])
    assert one == other
    assert hash(one) == hash(other)
    assert repr(one) == repr(other) == "Exclusions([b'*.tmp', b'/x'])"
    assert one != Exclusions(["*.tmp"])
    assert one
    assert not Exclusions()


def test_an_exclude_file_has_a_pattern_a_line() -> None:
    content = b"\xef\xbb\xbf# comment\n*.tmp\r\n\n   \n  /home/ana/cache  \n!keep\n\\#literal\nspace\\ \n\xff\xfe\nlast"
    assert parse_exclude_file(content) == [
        b"*.tmp", b"/home/ana/cache", b"!keep", b"\\#literal", b"space\\ ", b"\xff\xfe", b"last",
    ]  # fmt: skip
    assert Exclusions(parse_exclude_file(b"space\\ \n")).excluded(b"/space ", False)
    assert parse_exclude_file(b"") == []


@pytest.mark.parametrize(
    ("content", "tagged"), [(CACHE_TAG, True), (CACHE_TAG + b"\n# by x\n", True), (CACHE_TAG[:-1], False), (b"", False)]
)
def test_a_folder_with_a_valid_tag_is_a_cache(tmp_path: Path, content: bytes, tagged: bool) -> None:
    (tmp_path / "CACHEDIR.TAG").write_bytes(content)
    assert is_tagged_cache(os.fsencode(tmp_path)) is tagged


def test_no_tag_a_linked_tag_or_a_fifo_is_no_cache(tmp_path: Path) -> None:
    for name in ("none", "linked", "fifo", "folder"):
        (tmp_path / name).mkdir()
    (tmp_path / "tag").write_bytes(CACHE_TAG)
    (tmp_path / "linked" / "CACHEDIR.TAG").symlink_to(tmp_path / "tag")
    os.mkfifo(tmp_path / "fifo" / "CACHEDIR.TAG")
    (tmp_path / "folder" / "CACHEDIR.TAG").mkdir()
    for name in ("none", "linked", "fifo", "folder", "missing"):
        assert not is_tagged_cache(os.fsencode(tmp_path / name))
