"""A hub on 127.0.0.1 that speaks the few calls that `pzsl push` and `pzsl pull` need."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """Keeps files in memory; `status` of the server, where it isn't 0, is the answer to all."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._file(body=False)

    def do_GET(self) -> None:
        self._file(body=True)

    def do_POST(self) -> None:
        data = self._read()
        parts = self.path.strip("/").split("/")
        if self._refused():
            return
        if parts == ["api", "repos", "create"]:
            told = json.loads(data)
            name = "/".join(filter(None, [told.get("organization"), told["name"]]))
            self._json({"url": f"{self.server.address}/datasets/{name}"})
        elif parts == ["api", "validate-yaml"]:
            self._json({"warnings": [], "errors": []})
        elif "preupload" in parts:
            modes = [
                {"path": file["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for file in json.loads(data)["files"]
            ]
            self._json({"files": modes})
        elif "commit" in parts:
            repository = "/".join(parts[2:4])
            for line in data.decode().splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    content = base64.b64decode(entry["value"]["content"])
                    self.server.files[repository, entry["value"]["path"]] = content
            self._json(
                {
                    "commitUrl": f"{self.server.address}/datasets/{repository}/commit/{COMMIT}",
                    "commitOid": COMMIT,
                    "success": True,
                }
            )
        else:
            self._json({"error": f"no such call: {self.path}"}, 404)

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def _read(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        data = b""
        while size := int(self.rfile.readline().strip(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def _refused(self) -> bool:
        if self.server.status:
            self._json({"error": "refused"}, self.server.status)
        return bool(self.server.status)

    def _file(self, body: bool) -> None:
        if self._refused():
            return
        parts = self.path.split("?")[0].strip("/").split("/")  # datasets/USER/NAME/resolve/main/F
        repository, name = "/".join(parts[1:3]), "/".join(parts[5:])
        if not any(repository == known for known, _ in self.server.files):
            self._json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        content = self.server.files.get((repository, name))
        if content is None:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _json(self, value: object, status: int = 200, headers: dict | None = None) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@contextmanager
def hub() -> Iterator[ThreadingHTTPServer]:
    """A running hub: its `address`, its `files` by (repository, name), its `status`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.files, server.status = {}, 0
    server.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
