"""List what a snapshot holds."""

from __future__ import annotations

import stat

import click

from keepstone.history import tree
from keepstone.history.tree import Entry
from keepstone_cli.commands.snapshots import as_json
from keepstone_cli.completion import complete_snapshot
from keepstone_cli.main import Settings
from keepstone_cli.output import clean, iso_time, local_time, path_fields
from keepstone_cli.settings import open_repository, split_path

KINDS = {
    tree.FOLDER: "dir", tree.FILE: "file", tree.SYMLINK: "symlink", tree.FIFO: "fifo", tree.CHARACTER: "chardev",
    tree.BLOCK: "dev", tree.SOCKET: "socket",
}  # fmt: skip
_FORMATS = {
    tree.FOLDER: stat.S_IFDIR, tree.FILE: stat.S_IFREG, tree.SYMLINK: stat.S_IFLNK, tree.FIFO: stat.S_IFIFO,
    tree.CHARACTER: stat.S_IFCHR, tree.BLOCK: stat.S_IFBLK, tree.SOCKET: stat.S_IFSOCK,
}  # fmt: skip


@click.command("ls")
@click.argument("snapshot", metavar="SNAPSHOT[:PATH]", shell_complete=complete_snapshot)
@click.option("-l", "--long", is_flag=True, help="Show mode, owner, size and time.")
@click.option("--no-recursive", is_flag=True, help="Show one folder only.")
@click.pass_obj
def command(settings: Settings, snapshot: str, long: bool, no_recursive: bool) -> None:
    """List what a snapshot holds, below PATH if one is given."""
    output = settings.output()
    name, path = split_path(snapshot)
    with open_repository(settings) as repository:
        found = repository.snapshot(name)
        if settings.json:
            output.data({"message_type": "snapshot", "struct_type": "snapshot", **as_json(found)})
        for listed in repository.ls(found, path, recursive=not no_recursive):
            if settings.json:
                output.data(node(listed.path, listed.entry))
            else:
                output.result(long_line(listed.path, listed.entry) if long else clean(listed.path))


def node(path: bytes, entry: Entry) -> dict[str, object]:
    """Return an entry as its JSON line."""
    fields: dict[str, object] = {
        "message_type": "node",
        "struct_type": "node",
        **path_fields(entry.name, "name"),
        **path_fields(path),
        "type": KINDS[entry.kind],
        "mode": entry.mode | _FORMATS[entry.kind],
        "permissions": stat.filemode(entry.mode | _FORMATS[entry.kind]),
        "uid": entry.uid,
        "gid": entry.gid,
        "user": entry.user,
        "group": entry.group,
        "mtime": iso_time(entry.mtime_ns),
        "ctime": iso_time(entry.ctime_ns),
        "inode": entry.inode,
        "links": entry.links,
    }
    if entry.kind in (tree.FILE, tree.FOLDER):
        fields["size"] = entry.size
    if entry.kind == tree.SYMLINK:
        fields.update(path_fields(entry.target, "linktarget"))
    if entry.flags & tree.DATABASE_IMAGE:
        fields["database_image"] = True
    if entry.flags & tree.CHANGED_WHILE_READ:
        fields["changed_while_read"] = True
    return fields


def long_line(path: bytes, entry: Entry) -> str:
    """Return an entry as `ls -l` shows it."""
    owner = f"{clean(entry.user or str(entry.uid))} {clean(entry.group or str(entry.gid))}"
    arrow = f" -> {clean(entry.target)}" if entry.kind == tree.SYMLINK else ""
    mode = stat.filemode(entry.mode | _FORMATS[entry.kind])
    return f"{mode} {owner:17} {entry.size:12} {local_time(entry.mtime_ns)} {clean(path)}{arrow}"
