"""Makes `search.png`: a search in an archive of invented chats, as a terminal shows it.

    python docs/images/search.py

It needs Chromium and the installed engine; the archive is made in a temporary folder.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent.parent / "tests"))

from cli.harness import Box

from keepstone.messages.identity import identity
from keepstone.messages.model import Conversation, Message, Person
from keepstone.views import plain
from keepstone.views.chat import Chat

BEGIN_MS = 1_720_886_460_000
MINUTE_MS = 60_000
STYLE = """
body{margin:0;padding:24px;background:#d9dee4;font:15px/1.5 "DejaVu Sans Mono",monospace}
main{background:#15191e;color:#c8ced6;border-radius:9px;overflow:hidden;box-shadow:0 6px 18px #0005}
header{background:#2a3037;padding:9px 14px}
header i{display:inline-block;width:12px;height:12px;border-radius:6px;
margin-right:7px;background:#59626d}
pre{margin:0;padding:16px 20px;font:inherit;white-space:pre-wrap}b{color:#f2c94c}
s{text-decoration:none;color:#87909b}
u{text-decoration:none;color:#8fc98a}
"""
CHATS = {
    "Wedding": [
        (0, "Ana", "We are home. What a day!"),
        (3, "Ben", "Has anybody seen the photo from the beach?"),
        (4, "Ana", "The one with the dog? Mia took it"),
        (6, "Mia", "Sending it tonight"),
    ],
    "Mia": [
        (900, "Mia", "Shall we hang something in the hall?"),
        (902, "Ana", "Yes: THE BEACH, the photo where we all laugh"),
        (905, "Mia", "Printed. It is 40 by 60"),
    ],
    "Rowing club": [
        (2000, "Ben", "Two photographs of the boats on the beaches are online"),
        (2004, "Kim", "Thank you!"),
    ],
}


def chat(title: str) -> Chat:
    """Return an invented chat."""
    people = tuple(Person(address=name, name=name) for name in ("Ana", "Ben", "Mia", "Kim"))
    said = [
        Message(
            identity=identity("shown", title, number), service="signal", chat=title, author=name, direction="in",
            text=text, time_ms=BEGIN_MS + minute * MINUTE_MS,
        )
        for number, (minute, name, text) in enumerate(CHATS[title])
    ]  # fmt: skip
    return Chat(Conversation(service="signal", key=title, title=title, kind="group", people=people), said)


def seen(command: list[str]) -> str:
    """Return what a terminal gets when somebody searches in the invented chats."""
    with tempfile.TemporaryDirectory() as folder:
        box = Box(Path(folder))
        box.env["TZ"] = "UTC"
        (Path(folder) / "chats").mkdir()
        (Path(folder) / "chats" / "export.jsonl").write_bytes(b"".join(plain.jsonl(map(chat, CHATS), [])))
        box.run("init")
        box.run("backup", Path(folder) / "chats")
        terminal = box.terminal(*command)
        assert terminal.end() == 0
        return terminal.seen.decode()


def page(command: str, text: str) -> str:
    """Return a page that looks like a terminal."""
    shown = html.escape(text.replace("\r", ""))
    shown = re.sub(r"\x1b\[1;33m(.*?)\x1b\[0m", r"<b>\1</b>", shown)
    shown = re.sub(r"\x1b\[2m(.*?)\x1b\[0m", r"<s>\1</s>", shown)
    assert "\x1b" not in shown
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><main><header><i></i><i></i><i></i></header>"
        f"<pre><u>$</u> {html.escape(command)}\n{shown}</pre></main>"
    )


def main() -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        raise SystemExit("Chromium is needed.")
    command = ["search", "photo beach"]
    text = seen(command)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "page.html")
        file.write_text(page('keepstone search "photo beach"', text), "utf-8")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={folder}/b",
             "--window-size=900,420", f"--screenshot={HERE / 'search.png'}", file.as_uri()],
            check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "HOME": folder},
        )  # fmt: skip


if __name__ == "__main__":
    main()
