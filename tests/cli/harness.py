"""Runs the command in a process of its own, as a user does, with every folder it uses below one base."""

from __future__ import annotations

import atexit
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPILED = tempfile.mkdtemp(prefix="keepstone-compiled-")
"""Compiled modules, as an installed command has them; without, every run would compile them again."""
atexit.register(shutil.rmtree, COMPILED, ignore_errors=True)

KEY_TEXT = "0123456789abcdef" * 4
MODULE = (sys.executable, "-m", "keepstone_cli")


def installed() -> tuple[str, ...]:
    """Return the installed command, or the module where none is installed."""
    script = Path(sys.executable).parent / "keepstone"
    return (str(script),) if script.exists() else MODULE


@dataclass(frozen=True)
class Run:
    """What a run printed and ended with."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def documents(self) -> list[Any]:
        """The JSON lines of standard output."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def document(self) -> Any:
        """The last JSON line of standard output."""
        return self.documents[-1]


class Box:
    """A computer with its own home; `run` is its user typing a command."""

    def __init__(self, base: Path, *, key: bool = True) -> None:
        self.base = base
        self.home = base / "home"
        self.home.mkdir(parents=True)
        self.repo = base / "repo"
        self.work = base / "work"
        self.work.mkdir()
        self.env = {name: value for name, value in os.environ.items() if not name.startswith(("KEEPSTONE_", "XDG_"))}
        self.env |= {"HOME": str(self.home), "KEEPSTONE_REPOSITORY": str(self.repo), "COLUMNS": "100"}
        self.env.pop("PYTHONDONTWRITEBYTECODE", None)
        self.env["PYTHONPYCACHEPREFIX"] = COMPILED
        if key:
            (base / "key").write_text(KEY_TEXT + "\n")
            self.env["KEEPSTONE_KEY_FILE"] = str(base / "key")

    @property
    def state(self) -> Path:
        return self.home / ".local" / "state" / "keepstone"

    def run(
        self,
        *arguments: str | bytes | Path,
        env: Mapping[str, str | None] | None = None,
        stdin: bytes = b"",
        code: int | None = 0,
        command: Sequence[str] = MODULE,
        cwd: Path | None = None,
    ) -> Run:
        """Run the command; check its exit code, and that no traceback is ever shown."""
        done = subprocess.run(
            [*command, *arguments],
            input=stdin,
            capture_output=True,
            env=self._environment(env),
            cwd=cwd or self.work,
            check=False,
            timeout=60,
            start_new_session=True,
        )
        run = Run(done.returncode, done.stdout, done.stderr)
        assert b"Traceback" not in run.stdout + run.stderr, run.err
        if code is not None:
            assert run.code == code, (run.code, run.out, run.err)
        return run

    def json(self, *arguments: str | bytes | Path, **options: Any) -> Any:
        """Run the command with --json and return its last document."""
        return self.run("--json", *arguments, **options).document

    def fails(self, code: int, *arguments: str | bytes | Path, **options: Any) -> dict[str, Any]:
        """Run a command that fails, twice: for people it says two sentences, for programs it prints one document."""
        run = self.run(*arguments, code=code, **options)
        two_sentences(run.err)
        document = json.loads(self.run("--json", *arguments, code=code, **options).stderr.splitlines()[-1])
        assert document["message_type"] == "exit_error"
        assert document["code"] == code
        assert document["message"] in run.err
        assert document["remedy"] in run.err
        found: dict[str, Any] = document
        return found

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start the command and leave it running."""
        return subprocess.Popen(
            [*MODULE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(None),
            cwd=self.work,
        )

    def _environment(self, changes: Mapping[str, str | None] | None) -> dict[str, str]:
        merged = {**self.env, **(changes or {})}
        return {name: value for name, value in merged.items() if value is not None}

    def terminal(
        self, *arguments: str | Path, env: Mapping[str, str | None] | None = None, command: Sequence[str] = MODULE
    ) -> Terminal:
        """Run the command on a terminal."""
        return Terminal([*command, *map(str, arguments)], self._environment(env), self.work)


class Terminal:
    """A command on a pseudo terminal: wait for what it asks, type the answer."""

    def __init__(self, command: Sequence[str], env: dict[str, str], cwd: Path) -> None:
        self.seen = b""
        self._at = 0
        self.pid, self._handle = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execve(command[0], list(command), env)

    def expect(self, pattern: str, seconds: float = 30) -> re.Match[bytes]:
        """Wait until the pattern appears after what was expected last."""
        end = time.monotonic() + seconds
        while True:
            if match := re.compile(pattern.encode()).search(self.seen, self._at):
                self._at = match.end()
                return match
            if not self._read(end):
                raise AssertionError(f"{pattern!r} did not appear in {self.seen!r}")

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._handle], [], [], max(0.0, end - time.monotonic()))
        try:
            data = os.read(self._handle, 65536) if ready else b""
        except OSError:
            data = b""  # Linux reports the closed terminal so.
        self.seen += data
        return bool(data)

    def type(self, text: str, end: bytes = b"\n", *, echo: bool = False, seconds: float = 30) -> None:
        """Answer what was asked. A secret is typed once the terminal has stopped echoing: what stands in its queue
        at that moment is thrown away (TCSAFLUSH of termios(3))."""
        limit = time.monotonic() + seconds
        while not echo and termios.tcgetattr(self._handle)[3] & termios.ECHO:
            assert time.monotonic() < limit, f"the terminal still echoes after {self.seen!r}"
            self._read(time.monotonic() + 0.01)
        os.write(self._handle, text.encode() + end)

    def end(self, seconds: float = 60) -> int:
        """Read until the command has ended; return its exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass
        if time.monotonic() >= end:
            os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        os.close(self._handle)
        assert b"Traceback" not in self.seen, self.seen
        return os.waitstatus_to_exitcode(status)


def two_sentences(stderr: str) -> None:
    """Assert that an error is what happened and what to do: two lines, each a sentence."""
    lines = stderr.splitlines()
    assert len(lines) == 2, stderr
    assert lines[0].startswith("Error: "), stderr
    assert all(line.rstrip(")`").endswith((".", "?")) for line in lines), stderr


def folder_size(folder: Path) -> int:
    """Return the bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def raw_controls(data: bytes) -> list[str]:
    """Return the characters that could steer a terminal, other than line ends."""
    text = data.decode("utf-8", "replace")
    return [c for c in text if (ord(c) < 32 and c != "\n") or 0x7F <= ord(c) < 0xA0 or c in "\u202a\u202e\u2066\u200f"]
