"""The JSON that scripts rely on."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import keepstone_cli
from cli.conftest import Shared
from cli.harness import Box, folder_size
from support import noise, words

SUMMARY = {
    "message_type": str,
    "snapshot_id": str,
    "files_new": int,
    "files_changed": int,
    "files_unmodified": int,
    "dirs": int,
    "total_files_processed": int,
    "total_bytes_processed": int,
    "data_added": int,
    "data_stored": int,
    "chunks_new": int,
    "total_duration": float,
}


def test_backup_summary_has_every_field_and_counts_what_happened(ready: Box) -> None:
    source = ready.work / "source"
    source.mkdir()
    (source / "a").write_bytes(noise("a", 200_000))
    (source / "b").write_bytes(words("b", 100_000))
    before = folder_size(ready.repo)
    summary = ready.json("backup", source)
    for field, kind in SUMMARY.items():
        assert type(summary[field]) is kind, field
    assert summary["message_type"] == "summary"
    assert re.fullmatch("[0-9a-f]{64}", summary["snapshot_id"])
    assert (summary["files_new"], summary["files_changed"], summary["files_unmodified"]) == (2, 0, 0)
    assert summary["total_files_processed"] == 2
    assert summary["total_bytes_processed"] == 300_000
    assert 300_000 <= summary["data_added"] < 310_000
    assert summary["data_stored"] == folder_size(ready.repo) - before

    (source / "a").write_bytes(noise("other a", 150_000))
    (source / "c").write_bytes(b"c")
    before = folder_size(ready.repo)
    first = summary["snapshot_id"]
    summary = ready.json("backup", source)
    assert (summary["files_new"], summary["files_changed"], summary["files_unmodified"]) == (1, 1, 1)
    assert summary["parent"] == first
    assert summary["data_stored"] == folder_size(ready.repo) - before
    assert summary["data_added"] < 160_000

    before = folder_size(ready.repo)
    summary = ready.json("backup", source)
    assert summary["files_unmodified"] == 3
    assert summary["data_stored"] == folder_size(ready.repo) - before < 10_000


def test_snapshots(shared: Shared) -> None:
    first, second = shared.box.json("snapshots")
    assert [first["id"], second["id"]] == [shared.first, shared.second]
    assert first["short_id"] == shared.first[:8]
    assert first["paths"] == [str(shared.source)]
    assert (first["tags"], second["tags"]) == (["one"], ["two"])
    assert second["hostname"] == "elsewhere"
    assert first["parent"] is None
    assert second["parent"] is None, "another host's snapshot is no parent"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", first["time"])
    assert first["summary"]["total_files_processed"] == 5
    assert [s["id"] for s in shared.box.json("snapshots", "--tag", "two")] == [shared.second]
    assert [s["id"] for s in shared.box.json("snapshots", "--host", "elsewhere")] == [shared.second]
    assert [s["id"] for s in shared.box.json("snapshots", "--latest", "1")] == [shared.second]


def test_ls_is_lines_of_nodes(shared: Shared) -> None:
    head, *nodes = shared.box.run("--json", "ls", f"latest:{shared.source}").documents
    assert head["id"] == shared.second
    by_name = {node["name"]: node for node in nodes}
    assert by_name["photo.jpg"]["type"] == "file"
    assert by_name["photo.jpg"]["size"] == 700_000
    assert by_name["photo.jpg"]["path"] == f"{shared.source}/photo.jpg"
    assert by_name["docs"]["type"] == "dir"
    assert by_name["link"]["linktarget"] == "photo.jpg"
    assert base64.b64decode(by_name["not-\\xff-utf8"]["name_base64"]) == b"not-\xff-utf8"
    assert base64.b64decode(by_name["not-\\xff-utf8"]["path_base64"]).endswith(b"/not-\xff-utf8")
    below = shared.box.run("--json", "ls", f"latest:{shared.source}", "--no-recursive").documents
    assert "letter.txt" not in [node.get("name") for node in below]


def test_find(shared: Shared) -> None:
    found = shared.box.json("find", "*.txt")
    assert {f["snapshot"]: f["hits"] for f in found} == {shared.first: 2, shared.second: 2}
    (only,) = shared.box.json("find", "gone.*")
    assert only["snapshot"] == shared.first
    assert only["matches"][0]["path"] == f"{shared.source}/gone.txt"
    assert shared.box.json("find", "no such name") == []
    assert shared.box.json("find", "*.txt", "--snapshot", shared.second[:8])[0]["hits"] == 2


def test_diff(shared: Shared) -> None:
    *changes, statistics = shared.box.run("--json", "diff", shared.first, shared.second).documents
    source = str(shared.source)
    assert sorted((c["modifier"], c["path"].removeprefix(source)) for c in changes) == [
        ("+", "/new.txt"),
        ("-", "/gone.txt"),
        ("M", "/docs/letter.txt"),
    ]
    assert (statistics["added"], statistics["removed"], statistics["changed_files"]) == (1, 1, 1)
    assert statistics["bytes_grown"] == 3 - 9 + 1000


def test_restore(shared: Shared, tmp_path: Path) -> None:
    summary = shared.box.json("restore", "latest", "--target", tmp_path, "--verify")
    assert summary["message_type"] == "summary"
    assert summary["snapshot_id"] == shared.second
    assert summary["files_restored"] == 5
    assert summary["files_verified"] == 4
    assert summary["bytes_restored"] == summary["bytes_fetched"] == 700_000 + 6000 + 3 + 5
    assert summary["problems"] == 0


def test_stats_and_check(shared: Shared) -> None:
    stats = shared.box.json("stats")
    assert stats["snapshots_count"] == 2
    assert stats["total_size"] == folder_size(shared.box.repo)
    assert stats["total_restore_size"] > 1_400_000
    check = shared.box.json("check", "--read-data")
    assert check["healthy"] is True
    assert check["findings"] == []
    assert check["affected"] == []
    assert check["packs_read"] == check["packs"] == stats["packs_count"]
    assert shared.box.json("check", "--read-data-subset", "50%")["healthy"] is True


def test_receipts(shared: Shared) -> None:
    (shared.box.work / "r").write_bytes(b"r")
    receipt = shared.box.json("backup", "--dry-run", "r")["receipt"]
    assert receipt == ""
    other = Box(shared.box.base / "receipts")
    (other.work / "r").write_bytes(b"r")
    other.run("init")
    receipt = other.json("backup", "r")["receipt"]
    assert other.json("check", "--receipt", receipt)["receipt_found"] is True


def test_keys_and_version(shared: Shared) -> None:
    (slot,) = shared.box.json("key", "list")
    assert slot["kind"] == "digits"
    assert re.fullmatch("[0-9a-f]{32}", slot["id"])
    version = shared.box.json("version")
    assert version == {"message_type": "version", "version": keepstone_cli.__version__, "format": 1}
    verbose = shared.box.json("version", "--verbose")
    assert verbose["kernel"] in verbose["kernels"]
    assert "lmdb" in verbose["libraries"]


def test_init_and_index_rebuild(box: Box) -> None:
    document = box.json("init")
    assert re.fullmatch("[0-9a-f]{32}", document["id"])
    assert document["repository"] == str(box.repo)
    assert box.json("index", "rebuild") == {"message_type": "index_rebuilt", "packs_indexed": 0}


def test_global_options_may_stand_after_the_verb(shared: Shared) -> None:
    env = {"KEEPSTONE_REPOSITORY": "/nowhere", "KEEPSTONE_KEY_FILE": None}
    run = shared.box.run(
        "key", "list", "-r", shared.box.repo, "--key-file", shared.box.base / "key", "--json", "-q", env=env
    )
    assert run.document[0]["kind"] == "digits"


def test_every_line_is_ascii_json_in_any_locale(shared: Shared) -> None:
    run = shared.box.run("--json", "ls", "latest", env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})
    assert run.stdout.isascii()
    assert len(run.documents) > 5
