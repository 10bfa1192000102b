"""What a disk holds for sure while a run writes: all that fsync(2) was called for, and nothing else."""

from dataclasses import dataclass, field
from pathlib import Path

from system_calls import Call


@dataclass
class Node:
    """A file or a folder, as it was when it was synced last."""

    folder: bool
    content: bytes = b""
    entries: dict[str, "Node"] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        if not self.folder:
            path.write_bytes(self.content)
            return
        path.mkdir(parents=True)
        for name, node in self.entries.items():
            node.write(path / name)


class Platter:
    """Of the disk below the folder `root`, which is there for sure with what it holds now."""

    def __init__(self, root: Path):
        self.root, self.nodes = root, dict[int, Node]()
        for path in (root, *root.rglob("*")):
            self.sync(path)

    def note(self, call: Call) -> None:
        """Take note of a call that is about to happen."""
        path = Path(call.paths[-1])
        if not path.is_relative_to(self.root) or not path.exists():
            return
        if call.name in ("fsync", "fdatasync"):
            self.sync(path)
        elif call.name.startswith(("rename", "unlink", "rmdir")) and (path.is_dir() or path.stat().st_nlink == 1):
            self.nodes.pop(path.stat().st_ino, None)  # another file may get its number

    def sync(self, path: Path) -> None:
        node = self.node(path)
        if path.is_dir():
            node.entries = {inside.name: self.node(inside) for inside in path.iterdir()}
        else:
            node.content = path.read_bytes()

    def node(self, path: Path) -> Node:
        return self.nodes.setdefault(path.stat().st_ino, Node(path.is_dir()))

    def leave(self, target: Path, how: str) -> None:
        """Write to `target` what a power cut may leave now. "old", as POSIX has it: names and contents that were
        synced. "cut" and "zeros", as most file systems have it: all names, but of contents what was synced, followed by
        nothing or by zeros.
        """
        if how == "old":
            self.node(self.root).write(target)
            return
        target.mkdir(parents=True)
        for path in sorted(self.root.rglob("*")):
            copy = target / path.relative_to(self.root)
            if path.is_dir():
                copy.mkdir()
                continue
            node = self.nodes.get(path.stat().st_ino)
            now, synced = path.read_bytes(), node.content if node else b""
            lost = b"\0" * (len(now) - len(synced)) if how == "zeros" else b""
            copy.write_bytes(now if now == synced else synced + lost)
