"""Stands for the Hugging Face hub: as much of its API as `datasets` asks for, with one data set, a folder of files."""

import json
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlparse

COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers for the data set `name`, whose files lie in `root`."""

    name: str
    root: Path

    def files(self, below: str = "") -> list[str]:
        """Return the names of the files in the folder `below`, in any depth."""
        found = sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return [name for name in found if name.startswith(f"{below}/" if below else "")]

    def entries(self, names: Sequence[str]) -> list[dict[str, object]]:
        """Return what the hub says of files and folders."""
        found: list[dict[str, object]] = []
        for name in names:
            if (path := self.root / name).is_file():
                content = path.read_bytes()
                oid = sha256(content).hexdigest()[:40]
                found.append({"type": "file", "path": name, "size": len(content), "oid": oid})
            elif path.is_dir():
                found.append({"type": "directory", "path": name, "size": 0, "oid": "0" * 40})
        return found

    def answer(self, content: bytes, code: int = 200, **headers: str) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(content)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def answer_json(self, value: object) -> None:
        self.answer(json.dumps(value).encode(), Content_Type="application/json")

    def do_GET(self) -> None:
        path, api = unquote(urlparse(self.path).path), f"/api/datasets/{self.name}"
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": name} for name in self.files()]
            said = {"id": self.name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "tags": []}
            self.answer_json({**said, "downloads": 0, "likes": 0, "siblings": siblings})
        elif path.startswith(f"{api}/tree/"):
            below = path.removeprefix(f"{api}/tree/").partition("/")[2]
            folder = self.root / below
            self.answer_json(
                self.entries([each.relative_to(self.root).as_posix() for each in sorted(folder.iterdir())])
            )
        elif path.startswith(f"/datasets/{self.name}/resolve/"):
            name = path.removeprefix(f"/datasets/{self.name}/resolve/").partition("/")[2]
            if name in self.files():
                self.answer((self.root / name).read_bytes(), ETag=f'"{self.entries([name])[0]["oid"]}"')
            else:
                self.answer(b"", 404, X_Error_Code="EntryNotFound")
        else:
            self.answer(b'{"error": "not found"}', 404, X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.answer_json(self.entries(json.loads(body)["paths"] if body.startswith("{") else parse_qs(body)["paths"]))

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def hub_with(name: str, root: Path) -> Generator[str]:
    """Yield the address of a hub that has the data set `name`, of the files in `root`."""
    handler = type("OneSet", (Hub,), {"name": name, "root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
