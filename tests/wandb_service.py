"""A stand-in for W&B's service on 127.0.0.1, as far as its client needs one, that keeps what it is sent."""

import gzip
import json
import re
import traceback
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any, cast

Json = dict[str, Any]


@dataclass
class Sent:
    """What the service has of a run."""

    about: Json = field(default_factory=dict)
    """Its name, group, tags, configuration."""
    rows: dict[int, Json] = field(default_factory=dict)
    """The history, by the number of the line."""
    doubles: int = 0
    """Rows that were there already under another number."""
    summary: Json = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    exit_code: int | None = None


class Service(ThreadingHTTPServer):
    """`take` says how many rows it takes of each run; the rest it loses."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs: defaultdict[str, Sent] = defaultdict(Sent)
        self.artifacts: list[Json] = []
        self.unknown: list[str] = []
        self.commands: list[Json] = []
        """What the next agent that asks is to do."""
        self.sweep = ""
        self.lock, self.take = Lock(), 10**9
        Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: the client may have been killed."""

    @property
    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": f"http://127.0.0.1:{self.server_port}", "WANDB_API_KEY": "0" * 40}

    def answer(self, asked: Json) -> Json:
        """Return the data for a query or mutation of GraphQL."""
        operation = re.findall(r"\b(?:query|mutation)\s+(\w+)", asked["query"])[0]
        given = asked.get("variables") or {}
        resolve = getattr(self, f"do_{operation}", None)
        if resolve is None:
            self.unknown.append(f"{asked}")
            return {}
        try:
            return resolve(given)
        except Exception:
            self.unknown.append(f"{given} {traceback.format_exc()}")
            raise

    def do_Viewer(self, _: Json) -> Json:
        return {
            "viewer": {"id": "u", "entity": "us", "username": "us", "email": "", "flags": "{}", "teams": {"edges": []}}
        }

    do_GetDefaultEntity = do_Viewer

    def do_RunResumeStatus(self, given: Json) -> Json:
        project = {"id": "p", "name": given["project"], "entity": {"id": "e", "name": "us"}}
        run = self.runs.get(given["name"])
        return {"model": {**project, "bucket": self.bucket(given["name"], run) if run else None}}

    def do_Run(self, given: Json) -> Json:
        run = self.runs[given["name"]]
        last = max([row["_step"] for row in run.rows.values()], default=-1)
        keys = {"lastStep": last, "sets": [], "keys": {}}
        about = {"projectId": "1", "user": {"name": "us", "username": "us"}, "state": "finished", "group": None}
        names = ("jobType", "commit", "readOnly", "createdAt", "heartbeatAt", "systemMetrics")
        return {
            "project": {
                "run": {**self.bucket(given["name"], run), **about, **dict.fromkeys(names), "historyKeys": keys}
            }
        }

    do_RunHistoryKeys = do_Run

    def do_UpsertBucket(self, given: Json) -> Json:
        inserted, run = given["name"] not in self.runs, self.runs[given["name"]]
        run.about |= {name: value for name, value in given.items() if value is not None}
        return {"upsertBucket": {"bucket": self.bucket(given["name"], run), "inserted": inserted}}

    def bucket(self, name: str, run: Sent) -> Json:
        last = [json.dumps(run.rows[max(run.rows)])] if run.rows else []
        project = {"id": "p", "name": run.about.get("project"), "entity": {"id": "e", "name": "us"}}
        counts = {"historyLineCount": len(run.rows), "logLineCount": 0, "eventsLineCount": 0}
        return {
            "id": name, "name": name, "displayName": run.about.get("displayName"), "description": None,
            "config": run.about.get("config"), "sweepName": run.about.get("sweep"), "project": project,
            "historyTail": json.dumps(last), "eventsTail": "[]", "summaryMetrics": json.dumps(run.summary),
            "tags": run.about.get("tags"), "notes": None, "wandbConfig": '{"t": 1}', **counts,
        }  # fmt: skip

    def do_CreateRunFiles(self, given: Json) -> Json:
        self.runs[given["run"]].files += given["files"]
        base = f"{self.environment['WANDB_BASE_URL']}/upload/"
        files = [{"name": name, "uploadUrl": base + name} for name in given["files"]]
        return {"createRunFiles": {"runID": given["run"], "uploadHeaders": [], "files": files}}

    def do_ArtifactType(self, _: Json) -> Json:
        return {"project": {"artifact": None}}

    def do_UpsertSweep(self, given: Json) -> Json:
        self.sweep = given["config"]
        return {"upsertSweep": {"sweep": {"name": "sweep1"}, "configValidationWarnings": []}}

    def do_SweepWithRuns(self, _: Json) -> Json:
        return {"project": {"sweep": {"config": self.sweep, "state": "RUNNING", "runs": {"edges": []}}}}

    def do_CreateAgent(self, _: Json) -> Json:
        return {"createAgent": {"agent": {"id": "agent"}}}

    def do_Heartbeat(self, given: Json) -> Json:
        """Give the next command, once what was begun has come to its end."""
        is_busy = "running" in given["runState"].lower() or json.loads(given["runState"])
        commands = [] if is_busy or not self.commands else [self.commands.pop(0)]
        return {"agentHeartbeat": {"agent": {"id": "agent"}, "commands": json.dumps(commands)}}

    def do_ServerFeaturesQuery(self, _: Json) -> Json:
        return {"serverInfo": {"features": []}}

    def do_OrganizationCoreWeaveOrganizationID(self, _: Json) -> Json:
        return {"entity": None}

    def do_CreateArtifact(self, given: Json) -> Json:
        self.artifacts.append({**given["input"], "files": []})
        artifact = {
            "id": str(len(self.artifacts) - 1),
            "state": "PENDING",
            "artifactSequence": {"latestArtifact": None},
        }
        return {"createArtifact": {"artifact": artifact}}

    def do_CreateArtifactManifest(self, _: Json) -> Json:
        return {
            "createArtifactManifest": {"artifactManifest": {"id": "m", "file": self.to_upload("wandb_manifest.json")}}
        }

    do_UpdateArtifactManifest = do_CreateArtifactManifest

    def do_CreateArtifactFiles(self, given: Json) -> Json:
        edges: list[Json] = []
        for file in given["input"]["artifactFiles"]:
            self.artifacts[int(file["artifactID"])]["files"].append(file["name"])
            edges.append({"node": {**self.to_upload(file["name"]), "artifact": {"id": file["artifactID"]}}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def do_CommitArtifact(self, given: Json) -> Json:
        return {"commitArtifact": {"artifact": {"id": "", "digest": ""}}}

    def to_upload(self, name: str) -> Json:
        where = f"{self.environment['WANDB_BASE_URL']}/upload/{name}"
        return {"id": name, "name": name, "displayName": name, "uploadUrl": where, "uploadHeaders": []}

    def stream(self, run: Sent, sent: Json) -> None:
        """Take in what the client sends while a run goes on."""
        for name, part in sent.get("files", {}).items():
            for number, text in enumerate(part["content"], part["offset"]):
                if name == "wandb-history.jsonl" and number < self.take:
                    row = json.loads(text)
                    others = [n for n, other in run.rows.items() if other["_step"] == row["_step"] and n != number]
                    run.doubles += bool(others)
                    run.rows[number] = row
                elif name == "wandb-summary.json":
                    summary = json.loads(text)
                    run.summary = summary if summary.get("_step", 0) < self.take else {}
        if sent.get("complete"):
            run.exit_code = sent["exitcode"]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        service = cast(Service, self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        with service.lock:
            answer: Json = {}
            if self.path == "/graphql":
                asked = json.loads(body)
                answer = {"data": service.answer(asked)}
            elif self.path.endswith("/file_stream"):
                service.stream(service.runs[self.path.split("/")[-2]], json.loads(body))
        text = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = handle_any

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""
