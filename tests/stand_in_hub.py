"""A service that stands for the Hugging Face hub: as much of it as `datasets` asks for a data set, and as making a
repository and filling it takes.
"""

import base64
import json
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

TOKEN = "hf_of_the_test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Its repositories, which are made here: files by path, by the name of the repository. And its data `sets`: folders
    by name.
    """

    def __init__(self, sets: Mapping[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.sets = sets
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.large: dict[str, bytes] = {}
        self.by_lfs: tuple[str, ...] = (".safetensors", ".png")
        """Endings of files that come as objects of LFS, by plain uploads; hubs with Xet are not stood in for."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answers(BaseHTTPRequestHandler):
    server: Any

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def send(self, code: int, content: object = None, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content if content is not None else {}).encode()
        known = {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, "Content-Type": "application/json"}
        self.send_response(code)
        for name, value in {**known, **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            chunks = list[bytes]()
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self) -> None:
        path = unquote(urlparse(self.path).path)
        for name, root in self.server.sets.items():
            if path.startswith((f"/api/datasets/{name}", f"/datasets/{name}/")):
                return self.give(name, root, path)
        name = self.path.removeprefix("/api/models/").partition("/revision/")[0]
        if name in self.server.repositories:
            self.send(200, {"id": name, "sha": COMMIT, "siblings": []})
        else:
            self.send(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")

    do_HEAD = do_GET

    def give(self, name: str, root: Path, path: str) -> None:
        """Answer for the data set `name`, whose files lie in `root`."""
        api = f"/api/datasets/{name}"
        names = sorted(each.relative_to(root).as_posix() for each in root.rglob("*") if each.is_file())
        if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
            siblings = [{"rfilename": each} for each in names]
            said = {"id": name, "sha": COMMIT, "private": False, "gated": False, "disabled": False, "tags": []}
            self.send(200, {**said, "downloads": 0, "likes": 0, "siblings": siblings})
        elif path.startswith(f"{api}/tree/"):
            below = path.removeprefix(f"{api}/tree/").partition("/")[2]
            self.send(
                200, entries(root, [each.relative_to(root).as_posix() for each in sorted((root / below).iterdir())])
            )
        elif (file := path.removeprefix(f"/datasets/{name}/resolve/").partition("/")[2]) in names:
            self.send(200, (root / file).read_bytes(), ETag=f'"{entries(root, [file])[0]["oid"]}"')
        else:
            self.send(404, b"", X_Error_Code="EntryNotFound")

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.body()
        self.send(200)

    def do_POST(self) -> None:
        body = self.body()
        if self.path.startswith("/api/datasets/"):
            root = next(root for name, root in self.server.sets.items() if f"/{name}/" in self.path)
            asked = json.loads(body) if body.startswith(b"{") else parse_qs(body.decode())
            self.send(200, entries(root, asked["paths"]))
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send(401, {"error": "Invalid credentials"}, X_Error_Message="Invalid credentials")
        elif self.path == "/api/repos/create":
            self.create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self.send(200, {"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            self.send(200, {"files": [self.placed(file["path"]) for file in json.loads(body)["files"]]})
        elif self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{self.server.url}/large/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            self.send(200, {"transfer": "basic", "objects": objects})
        else:
            self.commit(self.path.removeprefix("/api/models/").partition("/commit/")[0], body)

    def create(self, asked: dict[str, str]) -> None:
        name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
        if name in self.server.repositories:
            self.send(409, {"error": "You already created this model repo"})
        else:
            self.server.repositories[name] = {}
            self.send(200, {"url": f"{self.server.url}/{name}"})

    def placed(self, path: str) -> dict[str, object]:
        mode = "lfs" if path.endswith(self.server.by_lfs) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False}

    def commit(self, name: str, body: bytes) -> None:
        files = self.server.repositories[name]
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
        self.send(200, {"commitUrl": f"{self.server.url}/{name}/commit/{COMMIT}", "commitOid": COMMIT})


def entries(root: Path, names: Sequence[str]) -> list[dict[str, object]]:
    """Return what the hub says of files and folders in `root`."""
    found: list[dict[str, object]] = []
    for name in names:
        if (path := root / name).is_file():
            content = path.read_bytes()
            oid = sha256(content).hexdigest()[:40]
            found.append({"type": "file", "path": name, "size": len(content), "oid": oid})
        elif path.is_dir():
            found.append({"type": "directory", "path": name, "size": 0, "oid": "0" * 40})
    return found


@contextmanager
def stand_in(sets: Mapping[str, Path] = MappingProxyType({})) -> Generator[Hub]:
    """Answer while the block lasts, with these data `sets`: folders by name."""
    hub = Hub(sets)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
