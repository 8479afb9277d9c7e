"""A hub on loopback, run as a process of its own: the two endpoints that the engine uses, and every way in which they fail.

    python hub_server.py FOLDER      serves FOLDER/<owner>/<name>/..., prints its port, writes FOLDER/requests.jsonl

FOLDER/behaviour.json is read at each request: {"<path within a repository>": {...}} with
  drop: bytes after which the connection closes, times: how often · flip: how often one bit is wrong · redirect: base of another
  server · no_ranges: true · status: [503, ...] used up one by one · pause: seconds before each 16 kB · longer: bytes too many
Its key "" is for the listing: also `card`, `revision`, `siblings` (instead of what is there), `token` (that it wants).
"""
from __future__ import annotations

import hashlib
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

REVISION = "0123456789abcdef0123456789abcdef01234567"
BLOCK = 16384


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    used: dict[str, int] = {}

    def do_GET(self):
        address = urlsplit(self.path)
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        with (self.server.root / "requests.jsonl").open("a") as log:
            log.write(json.dumps({"path": address.path, "query": address.query, "range": self.headers.get("Range"),
                                  "authorization": self.headers.get("Authorization")}) + "\n")
        if parts[:2] == ["api", "models"]:
            return self.listing("/".join(parts[2:4]), parts[5])
        self.file("/".join(parts[:2]), "/".join(parts[4:]))

    def listing(self, repository: str, revision: str):
        behaviour, folder = self.behaviour(""), self.server.root / repository
        wanted = behaviour.get("token")
        if not folder.is_dir() or wanted and self.headers.get("Authorization") != f"Bearer {wanted}":
            return self.answer(404 if not folder.is_dir() else 401, b"")
        if self.failed("", behaviour):
            return None
        found = [described(path, folder) for path in sorted(folder.rglob("*")) if path.is_file()]
        self.answer(200, json.dumps({"id": repository, "sha": behaviour.get("revision", REVISION), "cardData": behaviour.get("card"),
                                     "siblings": behaviour.get("siblings", found)}).encode())

    def file(self, repository: str, name: str):
        behaviour, path = self.behaviour(name), self.server.root / repository / name
        if behaviour.get("redirect"):
            return self.answer(302, b"", {"Location": f"{behaviour['redirect']}{self.path}"})
        if self.failed(name, behaviour) or not path.is_file():
            return None if path.is_file() else self.answer(404, b"")
        body = path.read_bytes() + b"x" * behaviour.get("longer", 0)
        if self.once(name, "flip", behaviour.get("flip", 0)):
            body = body[:-1] + bytes([body[-1] ^ 1])
        start = self.start(behaviour)
        if start > len(body):
            return self.answer(416, b"")
        headers = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        self.answer(206 if start else 200, body[start:], headers, behaviour, name)

    def start(self, behaviour: dict) -> int:
        asked = self.headers.get("Range")
        return int(asked.removeprefix("bytes=").partition("-")[0]) if asked and not behaviour.get("no_ranges") else 0

    def failed(self, name: str, behaviour: dict) -> bool:
        codes = behaviour.get("status", [])
        if not self.once(name, "status", len(codes)):
            return False
        self.answer(codes[self.used[f"{name} status"] - 1], b"")
        return True

    def answer(self, code: int, body: bytes, headers: dict | None = None, behaviour: dict | None = None, name: str = ""):
        behaviour = behaviour or {}
        self.send_response(code)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        drop = behaviour.get("drop", 0) if self.once(name, "drop", behaviour.get("times", 1)) else 0
        for begin in range(0, len(body), BLOCK):
            time.sleep(behaviour.get("pause", 0))
            self.wfile.write(body[begin:min(begin + BLOCK, drop or len(body))])
            if drop and begin + BLOCK >= drop:
                self.close_connection = True
                return

    def behaviour(self, name: str) -> dict:
        path = self.server.root / "behaviour.json"
        return json.loads(path.read_text()).get(name, {}) if path.exists() else {}

    def once(self, name: str, what: str, times: int) -> bool:
        """True for the first `times` calls."""
        key = f"{name} {what}"
        self.used[key] = self.used.get(key, 0) + 1
        return self.used[key] <= times

    def log_message(self, *_):
        pass


def described(path: Path, folder: Path) -> dict:
    """A file as the hub lists it: large ones (weights) with their sha256, small ones with git's name."""
    body = path.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()
    facts = {"rfilename": path.relative_to(folder).as_posix(), "size": len(body), "blobId": blob}
    if path.suffix in (".safetensors", ".bin"):
        facts["lfs"] = {"sha256": hashlib.sha256(body).hexdigest(), "size": len(body), "pointerSize": 134}
    return facts


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    server.daemon_threads, server.root = True, Path(sys.argv[1])
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
