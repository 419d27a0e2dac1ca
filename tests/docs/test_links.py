"""The documentation holds together: links resolve, decisions are listed, every kind of error has its line.

Run as a program, it writes docs/errors.md anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from keepstone import errors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_LINK = re.compile(r"\[[^\]\[]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```|^ {4}.*?$|`[^`\n]*`", re.DOTALL | re.MULTILINE)


def prose(page: Path) -> str:
    """Return a page without its code, in which brackets are no links."""
    return _CODE.sub("", page.read_text("utf-8"))


def anchors(page: Path) -> set[str]:
    """Return what the headings of a page can be linked as."""
    headings = re.findall(r"^#+ +(.+?) *$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _ids(pages: list[Path]) -> list[str]:
    return [page.relative_to(ROOT).as_posix() for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=_ids(PAGES))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z][a-z0-9+.-]*:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_on_the_map() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(DOCS / "index.md"))}
    pages = {page for page in DOCS.glob("*.md") if page.name != "index.md"}
    assert pages <= listed


def test_every_decision_is_listed_in_order() -> None:
    decisions = sorted(page.name for page in (DOCS / "adr").glob("[0-9]*.md"))
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (DOCS / "adr" / "README.md").read_text("utf-8"))
    assert decisions
    assert listed == decisions
    assert [name[:4] for name in decisions] == [f"{number:04}" for number in range(1, len(decisions) + 1)]


# The page of errors -----------------------------------------------------------------------------------------

_HEAD = """# Errors

Every error says what happened and what to do. With `--json` it also has its kind, which does not change. A message may
carry a remedy that fits better than the general one below.

## Exit codes

| code | meaning |
|---|---|
| 0 | done; also if a file changed while it was read, which is reported |
| 1 | failed, or a check found damage |
| 2 | the command line makes no sense |
| 3 | done in part: something could not be read or restored, everything else was |
| 10 | there is no repository at this place |
| 11 | another process writes to the repository |
| 12 | the password or key opens nothing |
| 130 | interrupted |

## Kinds

"Again" tells whether trying again may help by itself.

| kind | what happened | exit code | again | what to do |
|---|---|---|---|---|
"""


def _classes(root: type[errors.KeepstoneError]) -> Iterator[type[errors.KeepstoneError]]:
    yield root
    for below in root.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from _classes(below)


def errors_page() -> str:
    """Return docs/errors.md as the error classes have it."""
    found = sorted(_classes(errors.KeepstoneError), key=lambda error: error.kind)
    rows = [
        f"| `{error.kind}` | {(error.__doc__ or '').splitlines()[0]} | {error.exit_code} "
        f"| {'yes' if error.retriable else 'no'} | {error.remedy} |\n"
        for error in found
    ]
    return _HEAD + "".join(rows)


def test_the_page_of_errors_is_complete() -> None:
    assert (DOCS / "errors.md").read_text("utf-8") == errors_page(), "run: python tests/docs/test_links.py"


def test_every_kind_of_error_has_one_class_and_a_remedy() -> None:
    found = list(_classes(errors.KeepstoneError))
    kinds = [error.kind for error in found]
    assert len(set(kinds)) == len(kinds)
    assert all(error.remedy.endswith((".", "?")) for error in found)
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", _HEAD, re.MULTILINE)}
    assert {error.exit_code for error in found} <= codes


if __name__ == "__main__":
    (DOCS / "errors.md").write_text(errors_page(), "utf-8")
