"""A service that stands for the Hugging Face hub: as much of it as making a repository and filling it takes."""

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Its repositories: files by path, by the name of the repository."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
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
        body = json.dumps(content if content is not None else {}).encode()
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
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
        name = self.path.removeprefix("/api/models/").partition("/revision/")[0]
        if name in self.server.repositories:
            self.send(200, {"id": name, "sha": COMMIT, "siblings": []})
        else:
            self.send(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")

    def do_PUT(self) -> None:
        self.server.large[self.path.rpartition("/")[2]] = self.body()
        self.send(200)

    def do_POST(self) -> None:
        body = self.body()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
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


@contextmanager
def stand_in() -> Generator[Hub]:
    """Answer while the block lasts."""
    hub = Hub()
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
