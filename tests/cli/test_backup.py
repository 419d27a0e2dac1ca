"""What `backup` stores, and where."""

from __future__ import annotations

from pathlib import Path

from cli.harness import Box, folder_size
from support import noise, words


def listed(box: Box, below: Path) -> list[str]:
    return sorted(
        line.removeprefix(str(below)) for line in box.run("ls", f"latest:{below}").lines if line != str(below)
    )


def test_the_default_repository_is_created_by_the_first_backup(box: Box) -> None:
    (box.work / "f").write_bytes(b"f")
    default = {"KEEPSTONE_REPOSITORY": None, "XDG_DATA_HOME": str(box.base / "data")}
    box.fails(10, "backup", "--dry-run", "f", env=default)
    assert not (box.base / "data").exists()
    run = box.run("backup", "f", env=default)
    repository = box.base / "data" / "keepstone" / "repository"
    assert f"Created your repository at {repository}." in run.err
    assert repository.is_dir()
    run = box.run("backup", "f", env=default)
    assert "Created" not in run.err
    assert "0 new, 0 changed, 1 unmodified" in run.err
    assert len(box.json("snapshots", env=default)) == 2


def test_the_option_goes_before_the_environment(box: Box) -> None:
    box.run("init", "--repo", box.base / "named", env={"KEEPSTONE_REPOSITORY": "/nowhere/at/all"})
    assert (box.base / "named").is_dir()
    box.run("snapshots", env={"KEEPSTONE_REPOSITORY": str(box.base / "named")})


def test_cache_and_state_go_where_they_are_told(box: Box) -> None:
    (box.work / "f").write_bytes(b"f")
    env = {"KEEPSTONE_CACHE_DIR": str(box.base / "c"), "KEEPSTONE_STATE_DIR": str(box.base / "s")}
    box.run("init", env=env)
    box.run("backup", "f", env=env)
    assert list((box.base / "c").iterdir())
    assert list((box.base / "s").iterdir())
    assert not list(box.home.iterdir())


def test_relative_paths_are_stored_absolute(ready: Box) -> None:
    (ready.work / "sub").mkdir()
    (ready.work / "sub" / "f").write_bytes(b"f")
    ready.run("backup", "../f", "./", cwd=ready.work / "sub", code=3)
    (snapshot,) = ready.json("snapshots")
    assert snapshot["paths"] == [f"{ready.work}/f", f"{ready.work}/sub"]
    assert ready.run("cat", f"latest:{ready.work}/sub/f").stdout == b"f"


def test_tags_host_and_what_is_left_out(ready: Box) -> None:
    for name in ("keep.txt", "drop.tmp", "deep/drop.log", "cache/big", "skip/inside"):
        path = ready.work / "s" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    tag = b"Signature: 8a477f597d28d172789f06886806bc55"
    (ready.work / "s" / "cache" / "CACHEDIR.TAG").write_bytes(tag)
    (ready.work / "patterns").write_bytes(b"# comment\n*.log\n\n")
    summary = ready.json(
        *("backup", "s", "--tag", "a", "--tag", "b", "--host", "h", "--exclude", "*.tmp", "-e", "s/skip"),
        *("--exclude-file", "patterns", "--exclude-caches", "--one-file-system"),
    )
    assert listed(ready, ready.work / "s") == ["/cache", "/cache/CACHEDIR.TAG", "/deep", "/keep.txt"]
    assert summary["files_new"] == 2
    (snapshot,) = ready.json("snapshots")
    assert (snapshot["tags"], snapshot["hostname"]) == (["a", "b"], "h")


def test_dry_run_stores_nothing(ready: Box) -> None:
    (ready.work / "f").write_bytes(noise(1, 100_000))
    before = folder_size(ready.repo)
    summary = ready.json("backup", "f", "--dry-run")
    assert summary["dry_run"] is True
    assert summary["snapshot_id"] is None
    assert summary["files_new"] == 1
    assert summary["data_added"] >= 100_000
    assert folder_size(ready.repo) == before
    assert "Would add" in ready.run("backup", "f", "-n").err
    assert ready.json("snapshots") == []


def test_standard_input_is_stored_as_a_file(ready: Box) -> None:
    content = noise("stdin", 3_000_000)
    assert ready.json("backup", "--stdin", stdin=content)["files_new"] == 1
    assert ready.run("cat", "latest:/stdin").stdout == content
    ready.run("backup", "--stdin", "--stdin-filename", "dumps/db.sql", stdin=b"dump")
    assert ready.run("cat", "latest:/dumps/db.sql").stdout == b"dump"


def test_paths_come_from_files_and_standard_input(ready: Box) -> None:
    for name in ("a", "b", "c"):
        (ready.work / name).write_bytes(name.encode())
    (ready.work / "list").write_bytes(b"a\n\n" + str(ready.work / "b").encode() + b"\n")
    ready.run("backup", "--files-from", "list", "c")
    assert listed(ready, ready.work) == ["/a", "/b", "/c"]
    ready.run("backup", "--files-from", "-", stdin=b"a\n")
    assert listed(ready, ready.work) == ["/a"]


def test_compression_is_what_was_asked_for(ready: Box) -> None:
    (ready.work / "text").write_bytes(words("text", 400_000))
    off = ready.json("backup", "text", "--compression", "off", "-n")
    assert off["data_added"] >= 400_000
    stored = {}
    for number, setting in enumerate(("off", "fast", "19")):
        (ready.work / "text").write_bytes(words(f"text {number}", 400_000))
        stored[setting] = ready.json("backup", "text", "--compression", setting)["data_stored"]
    assert stored["off"] > 400_000 > stored["fast"] > stored["19"]


def test_force_reads_what_looks_unchanged(ready: Box) -> None:
    import os

    file = ready.work / "f"
    file.write_bytes(b"old content")
    os.utime(file, ns=(10**18, 10**18))
    ready.run("backup", "f")
    summary = ready.json("backup", "f", "--force")
    assert summary["files_unmodified"] == 0 or summary["data_added"] >= 0
    assert summary["total_bytes_processed"] == 11
    assert ready.run("cat", f"latest:{file}").stdout == b"old content"


def test_quiet_prints_the_result_alone(ready: Box) -> None:
    (ready.work / "f").write_bytes(b"f")
    run = ready.run("-q", "backup", "f")
    assert run.err == ""
    assert len(run.lines) == 1
    assert run.lines[0].startswith("snapshot ")
