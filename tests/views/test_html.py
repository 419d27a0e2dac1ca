"""Exported pages show what was said, and nothing that was said can do anything."""

from __future__ import annotations

import hashlib
import io
import os
import random
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta, timezone
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keepstone.messages.model import Attachment, Conversation, Edit, Message, Person, Reaction
from keepstone.views import html
from keepstone.views.chat import Chat
from support import report
from views.payloads import MARK, payloads

SEED = 7
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def message(number: int, text: str, **fields: object) -> Message:
    chosen = {"direction": "in", "author": "1", "time_ms": 1_700_000_000_000 + number * 60_000} | fields
    identity = number.to_bytes(16, "big")
    return Message(identity=identity, service="whatsapp", chat="1", text=text, **chosen)  # type: ignore[arg-type]


def chat(messages: list[Message], title: str = "Ana", **fields: object) -> Chat:
    people = (Person(address="1", name="Ana"), Person(address="2", name="Bo"))
    return Chat(Conversation(service="whatsapp", key="1", title=title, people=people, **fields), messages)  # type: ignore[arg-type]


def nobody(attachment: Attachment) -> BinaryIO | None:
    return None


def photo(data: bytes, **fields: str) -> Attachment:
    return Attachment(sha256=hashlib.sha256(data).digest(), size=len(data), **fields)  # type: ignore[arg-type]


class Reader(HTMLParser):
    """Notes every element and its attributes, and the text of the page outside its style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said = ""
        self._within = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within not in ("style", "script"):
            self.said += data


def read(page: Path) -> Reader:
    reader = Reader()
    reader.feed(page.read_text("utf-8"))
    reader.close()
    return reader


ALLOWED = {
    "html": set(), "head": set(), "meta": {"charset", "http-equiv", "content", "name"}, "title": set(), "style": set(),
    "body": set(), "header": set(), "h1": set(), "h2": set(), "input": {"id", "type", "placeholder", "aria-label"},
    "main": {"class"}, "a": {"class", "href", "rel", "download"}, "b": set(), "span": {"title"}, "article": {"class"},
    "blockquote": set(), "strong": set(), "p": {"class", "dir"}, "del": {"title"}, "small": set(), "footer": set(),
    "img": {"loading", "src", "alt"}, "video": {"controls", "preload", "src"}, "audio": {"controls", "preload", "src"},
    "script": set(), "nav": set(),
}  # fmt: skip


def assert_harmless(page: Path) -> None:
    """Check by structure alone: known elements, known attributes, known schemes, one script and one style of ours."""
    found = read(page)
    scripts = 0
    for tag, attributes in found.elements:
        assert tag in ALLOWED, tag
        assert attributes.keys() <= ALLOWED[tag], (tag, attributes)
        scripts += tag == "script"
        for name in ("href", "src"):
            if name in attributes:
                assert re.match(r"https?://|(chat-|media/|index)[\w./-]*\Z", attributes[name] or "", re.IGNORECASE)
    assert scripts == 1
    assert html.POLICY in page.read_text("utf-8")


def test_a_chat_shows_who_said_what_and_when(tmp_path: Path) -> None:
    picture = b"\x89PNG it is"
    said = [
        message(1, "Hello <you> & all"),
        message(2, "Hi", direction="out", author="", state="read", reply_to="n1"),
        message(3, "first\nsecond", author="2", edits=(Edit(text="frist"),), forwarded=True),
        message(4, "", attachments=(photo(picture, name="p.png", caption="at sea"), Attachment(name="lost.pdf"))),
        message(5, "Ana left", direction="none", kind="event"),
        message(6, "\U0001f600", reactions=(Reaction(author="2", emoji="\u2764\ufe0f"),)),
        message(7, "see https://example.org/a?b=1&c=2.", time_ms=1_700_090_000_000),
    ]
    said[0] = message(1, "Hello <you> & all", native="n1")
    written = html.export_html(
        [chat(said)],
        tmp_path / "out",
        lambda a: io.BytesIO(picture) if a.sha256 else None,
        timezone(timedelta(hours=1)),
    )
    assert (written.chats, written.messages, written.files, written.missing) == (1, 7, 1, 1)
    page = tmp_path / "out" / "chat-00001-ana.html"
    assert_harmless(page)
    assert_harmless(tmp_path / "out" / "index.html")
    text = read(page).said
    shown = (
        "Hello <you> & all", "first\nsecond", "frist", "at sea", "Ana left", "lost.pdf", "Bo", "23:14", "2023-11-14",
        "2023-11-16", "Ana: Hello <you> & all", "forwarded", "edited", "\u2764\ufe0f",
    )  # fmt: skip
    assert [expected for expected in shown if expected not in text] == []
    links = [a["href"] for tag, a in read(page).elements if tag == "a" and (a.get("href") or "").startswith("http")]
    assert links == ["https://example.org/a?b=1&c=2"]
    (copied,) = (tmp_path / "out" / "media").iterdir()
    assert copied.read_bytes() == picture
    assert "7 messages" in read(tmp_path / "out" / "index.html").said


def test_what_happened_in_a_chat_is_told_even_where_a_source_has_no_words_for_it(tmp_path: Path) -> None:
    files = (photo(b"icon", name="icon.jpg", caption="New icon"),)
    said = [message(1, "", kind="call", direction="none"), message(2, "", kind="event", attachments=files)]
    html.export_html([chat(said), chat(said[:1])], tmp_path, nobody)
    first, index = ((tmp_path / name).read_text() for name in ("chat-00001-ana.html", "index.html"))
    assert "(call)" in first
    assert "icon.jpg" in first
    assert "New icon" in first
    assert "<span>2 messages</span>" in index
    assert "<span>1 message</span>" in index


def test_a_long_chat_has_several_pages_and_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "MESSAGES_PER_PAGE", 100)
    html.export_html([chat([message(n, f"text-{n}.") for n in range(250)])], tmp_path, nobody)
    pages = ["chat-00001-ana.html", "chat-00001-ana-2.html", "chat-00001-ana-3.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*pages, "index.html"])
    said = "".join(read(tmp_path / page).said for page in pages)
    assert all(f"text-{number}." in said for number in range(250))
    assert [len(re.findall(r"text-\d+", read(tmp_path / page).said)) for page in pages] == [100, 100, 50]


@pytest.mark.parametrize(
    "name", ["x.svg", "x.html", "x.js", "../../x.png", "x.png\0.html", "x", "", "a/b.jpg", "x.SVG"]
)
def test_copied_files_have_names_of_ours_and_endings_that_nothing_runs(tmp_path: Path, name: str) -> None:
    html.export_html(
        [chat([message(1, "", attachments=(photo(b"<svg onload=1>", name=name, mime="image/svg+xml"),))])],
        tmp_path / "out", lambda a: io.BytesIO(b"<svg onload=1>"),
    )  # fmt: skip
    (copied,) = (tmp_path / "out" / "media").iterdir()
    assert re.fullmatch(r"[0-9a-f]{32}\.(bin|png|jpg)", copied.name)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_that_occur_twice_are_copied_once_and_media_can_be_left_out(tmp_path: Path) -> None:
    one = photo(b"same", name="a.jpg")
    messages = [message(1, "", attachments=(one,)), message(2, "", attachments=(one,))]
    assert html.export_html([chat(messages)], tmp_path / "a", lambda a: io.BytesIO(b"same")).files == 1
    html.export_html([chat(messages)], tmp_path / "b", lambda a: io.BytesIO(b"same"), media=False)
    assert not (tmp_path / "b" / "media").exists()


@pytest.mark.parametrize("time_ms", [0, -1, 2**62, -(2**62), 253_402_300_800_000])
def test_times_beyond_the_calendar_are_shown_as_its_ends(tmp_path: Path, time_ms: int) -> None:
    assert html.export_html([chat([message(1, "then", time_ms=time_ms)])], tmp_path, nobody).messages == 1


@settings(max_examples=150, deadline=None)
@given(text=st.text(max_size=200), title=st.text(max_size=50), name=st.text(max_size=50))
def test_any_text_is_shown_and_is_nothing_but_text(
    tmp_path_factory: pytest.TempPathFactory, text: str, title: str, name: str
) -> None:
    folder = tmp_path_factory.mktemp("out")
    html.export_html([chat([message(1, f"[{text}]", author=name, subject=name)], title)], folder, nobody)
    for page in folder.glob("*.html"):
        assert_harmless(page)
    (page,) = folder.glob("chat-*.html")
    visible = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\ufffd", f"[{text}]")
    assert visible in read(page).said.replace("\r\n", "\n")


def hostile(url: str, rng: random.Random) -> list[Chat]:
    """Return chats in which every payload stands in every field that a source fills."""
    chats, all_payloads = [], payloads(url)
    for p in all_payloads:
        fields = {"native": p, "author": p, "subject": p, "reply_to": p}
        attachment = Attachment(sha256=rng.randbytes(32), name=p, mime=p, caption=p, place=p, extra={p: p})
        messages = [
            message(1, p, **fields),
            message(2, p, **fields, direction="out", reactions=(Reaction(author=p, emoji=p),), edits=(Edit(text=p),)),
            message(3, p, kind="event", direction="none", extra={p: p}),
            message(4, "", attachments=(attachment,)),
        ]
        people = (Person(address=p, name=p),)
        conversation = Conversation(service="whatsapp", account=p, key=p, title=p, people=people)
        chats.append(Chat(conversation, messages, {p: p}))
    assert len(set(all_payloads)) >= 200
    return chats


def test_no_payload_in_any_field_becomes_a_part_of_a_page(tmp_path: Path) -> None:
    report(f"seed {SEED}")
    chats = hostile("http://127.0.0.1:9", random.Random(SEED))
    html.export_html(chats, tmp_path, lambda a: io.BytesIO(a.name.encode()))
    pages = list(tmp_path.glob("*.html"))
    assert len(pages) == len(chats) + 1
    for page in pages:
        assert_harmless(page)
    assert {path.suffix for path in (tmp_path / "media").iterdir()} == {".bin"}


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """Run a server on loopback and note what it is asked."""
    asked: list[str] = []

    class Noting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Noting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def browse(page: Path, profile: Path) -> str:
    """Open a page in a real browser, let it run, and return the page as it is then."""
    assert BROWSER is not None
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", f"--user-data-dir={profile}", "--virtual-time-budget=4000", "--dump-dom",
         page.as_uri()],
        capture_output=True, timeout=180, check=True, env={**os.environ, "HOME": str(profile)},
    )  # fmt: skip
    return done.stdout.decode("utf-8", "replace")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_no_payload_runs_and_no_request_leaves(tmp_path: Path) -> None:
    """All payloads in one chat and in the list of chats; the same page without its guards is the test of the test."""
    with listening() as (url, asked):
        chats = hostile(url, random.Random(SEED))
        everything = [message for one in chats for message in one.messages]
        names = {p: p for one in chats for p in one.names}
        html.export_html([Chat(chats[0].conversation, everything, names), *chats], tmp_path / "out", nobody)
        for page in (next((tmp_path / "out").glob("chat-00001*.html")), tmp_path / "out" / "index.html"):
            shown = browse(page, tmp_path / "profile")
            assert "data-ran" not in shown.partition(">")[0] + re.findall("<html[^>]*>", shown)[0]
            assert "fetch(" in shown
            assert asked == []
        naked = tmp_path / "naked.html"
        naked.write_text(f"<html><body><script>{MARK}</script><img src='{url}/pixel.png'>", encoding="utf-8")
        assert "data-ran" in re.findall("<html[^>]*>", browse(naked, tmp_path / "profile"))[0]
        assert asked == ["/pixel.png"]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_the_policy_alone_stops_every_payload(tmp_path: Path) -> None:
    """The second guard: were nothing escaped at all, still no script would run and no request leave."""
    with listening() as (url, asked):
        page = tmp_path / "page.html"
        body = "\n".join(p for p in payloads(url) if "refresh" not in p)
        page.write_text(html._head("it") + body, encoding="utf-8")
        shown = browse(page, tmp_path / "profile")
        assert "data-ran" not in re.findall("<html[^>]*>", shown)[0]
        assert asked == []


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_in_a_browser_the_search_box_hides_what_does_not_match(tmp_path: Path) -> None:
    html.export_html([chat([message(1, "Caf\u00e9 tonight"), message(2, "never")])], tmp_path, nobody)
    (page,) = tmp_path.glob("chat-*.html")
    text = page.read_text("utf-8")
    box = "document.getElementById('search')"
    typed = f"<script>{box}.value='CAFE';{box}.dispatchEvent(new Event('input'))</script>"
    policy = html.POLICY.replace("script-src ", f"script-src {html._hash(typed[8:-9])} ")
    page.write_text(text.replace(html.POLICY, policy).replace("</body>", typed + "</body>"), encoding="utf-8")
    shown = browse(page, tmp_path / "profile")
    hidden = re.findall(r'<article class="in row" hidden="">.*?</article>', shown, re.DOTALL)
    assert len(hidden) == 1
    assert "never" in hidden[0]
