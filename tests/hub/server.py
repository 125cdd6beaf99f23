"""A Hugging Face hub on the loopback interface, for the real `huggingface_hub` and `datasets` clients.

What it serves follows the hub's own protocol: repositories of commits, branches and converted branches
(`refs/convert/parquet`), file listings in pages, `resolve` with ETag, X-Repo-Commit and ranges, large files by
redirection with X-Linked-* headers, gated and missing repositories with the hub's error codes. `fail` makes it refuse,
cut off or change at a chosen request. Nothing here is imported by the project itself.

    with Hub() as hub:
        hub.commit("org/corpus", {"README.md": b"", "en/test-00000-of-00001.parquet": data})
        hub.fail("resolve", status=429, headers={"Retry-After": "0"})
        subprocess.run(command, env=os.environ | hub.environment(tmp_path))
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

PAGE = 3  # entries of a listing; few, so that the clients have to ask for the next page
KINDS = {"models": "", "datasets": "datasets/", "spaces": "spaces/"}
LARGE = (".parquet", ".tar", ".gz", ".zip", ".bin", ".safetensors", ".flac", ".wav")
_API = re.compile(r"/api/(models|datasets|spaces)/([^/]+/[^/]+)(?:/(revision|tree|paths-info|refs)(?:/([^/]+)(.*))?)?")
_RESOLVE = re.compile(r"/(datasets/|spaces/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)")


@dataclass
class Repository:
    """Commits by id, branches by name; `gated` repositories show their files to the tokens in `allowed` only."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    allowed: set[str] = field(default_factory=set)


@dataclass
class Fault:
    """What happens to the next `times` requests whose method and path contain `match`, after `skip` of them."""

    match: str
    times: int = 1
    skip: int = 0
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None  # bytes of the body before the connection ends
    reset: bool = False  # ends with a reset in place of a close
    corrupt: bool = False  # the first byte of the body is changed
    action: Callable[[], None] | None = None  # called first; without the above, the answer is the usual one


class Hub:
    """The server; a context manager. `requests` are the lines "METHOD path range" in the order in which they came."""

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.requests: list[str] = []
        self.lock = threading.Lock()
        self._faults: list[Fault] = []
        # Large files come from another host, as on the hub: the clients follow redirections to their own host unasked.
        self._servers = [_Server(self), _Server(self)]

    def __enter__(self) -> Hub:
        for server in self._servers:
            server.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.stop()

    @property
    def endpoint(self) -> str:
        """The value for HF_ENDPOINT."""
        return self._servers[0].address

    @property
    def storage(self) -> str:
        """Where large files are."""
        return self._servers[1].address

    def environment(self, folder: Path, token: str | None = None) -> dict[str, str]:
        """Variables that send the clients of another process here, with all they keep below `folder`."""
        variables = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(folder / "hf_home"),
            "HF_HUB_CACHE": str(folder / "hf_home" / "hub"),
            "HF_DATASETS_CACHE": str(folder / "hf_home" / "datasets"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": token or "",
            "NO_PROXY": "127.0.0.1",
        }
        return variables

    def use(self, monkeypatch, folder: Path, token: str | None = None) -> None:
        """The same for clients in this process, also where they read their variables when they were imported."""
        import huggingface_hub.constants as constants

        for name, value in self.environment(folder, token).items():
            monkeypatch.setenv(name, value)
        if not token:
            monkeypatch.delenv("HF_TOKEN")
        cache = str(folder / "hf_home" / "hub")
        url = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for name, value in (
            ("ENDPOINT", self.endpoint),
            ("HUGGINGFACE_CO_URL_TEMPLATE", url),
            ("HF_HUB_CACHE", cache),
            ("HF_TOKEN_PATH", str(folder / "hf_home" / "token")),
            ("HF_HUB_DISABLE_XET", True),
            ("DOWNLOAD_CHUNK_SIZE", 1000),  # else 10 MB are lost with a connection: all there is in a test
            ("HF_HUB_OFFLINE", False),
        ):
            monkeypatch.setattr(constants, name, value)

    def commit(
        self, name: str, files: Mapping[str, bytes], branch: str = "main", kind: str = "datasets", **settings: object
    ) -> str:
        """A commit of exactly these files at the end of `branch`; `settings` are Repository's. Returns its id."""
        with self.lock:
            repository = self.repositories.setdefault((kind, name), Repository())
            for key, value in settings.items():
                setattr(repository, key, value)
            digest = hashlib.sha1(f"{name} {branch} {len(repository.commits)}".encode())
            for path in sorted(files):
                digest.update(path.encode() + b"\0" + hashlib.sha1(files[path]).digest())
            sha = digest.hexdigest()
            repository.commits[sha] = dict(files)
            repository.branches[branch] = sha
            return sha

    def fail(self, match: str, **fault: object) -> None:
        """Add a Fault; faults are tried in the order in which they were added."""
        self._faults.append(Fault(match, **fault))

    def asked(self, text: str) -> list[str]:
        """The requests whose line contains `text`."""
        return [line for line in self.requests if text in line]

    def take_fault(self, line: str) -> Fault | None:
        """The fault of this request, counted down."""
        with self.lock:
            for fault in self._faults:
                if fault.match in line and fault.times > 0:
                    if fault.skip > 0:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: Hub):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request, client_address) -> None:
        """Clients that hang up are what the tests ask for."""


class _Refused(Exception):
    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_GET(self) -> None:
        self._serve()

    def do_HEAD(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def _serve(self) -> None:
        hub = self.server.hub
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        line = f"{self.command} {unquote(unquote(parts.path))} {self.headers.get('Range', '')}".rstrip()
        hub.requests.append(line)
        self.fault = hub.take_fault(line)
        if self.fault and self.fault.action:
            self.fault.action()
        if self.fault and self.fault.status:
            self._answer(self.fault.status, b"", self.fault.headers)
            return
        try:
            self._route(parts.path, parse_qs(parts.query), parse_qs(body.decode("utf-8", "replace")))
        except _Refused as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message}
            content = json.dumps({"error": refusal.message}).encode()
            self._answer(refusal.status, content, headers | {"Content-Type": "application/json"})

    def _route(self, path: str, query: dict[str, list[str]], form: dict[str, list[str]]) -> None:
        if path.startswith("/lfs/"):
            self._send_file(self._large(path.removeprefix("/lfs/")), {})
        elif match := _API.fullmatch(path):
            kind, name, what, revision, rest = match.groups()
            repository = self._repository(kind, name)
            if what == "refs":
                self._refs(repository)
            else:
                sha, files = _revision(repository, unquote(revision or "main"))
                if what == "tree":
                    self._tree(path, files, unquote(rest or "").strip("/"), query)
                elif what == "paths-info":
                    entries = [_entry(files, p) for p in form.get("paths", [])]
                    self._json([entry for entry in entries if entry])
                else:
                    self._info(name, sha, files, repository)
        elif match := _RESOLVE.fullmatch(path):
            kind = (match[1] or "models/").rstrip("/")
            self._resolve(self._repository(kind, match[2]), unquote(match[3]), unquote(match[4]))
        else:
            raise _Refused(404, "", f"no such page: {path}")

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _repository(self, kind: str, name: str) -> Repository:
        found = self.server.hub.repositories.get((kind, unquote(name)))
        if found is None:
            if self._token():
                raise _Refused(404, "RepoNotFound", "Repository not found")
            raise _Refused(401, "RepoNotFound", "Invalid username or password.")
        return found

    def _info(self, name: str, sha: str, files: Mapping[str, bytes], repository: Repository) -> None:
        siblings = [{"rfilename": path} for path in sorted(files)]
        gated = "auto" if repository.gated else False
        facts = {"_id": "0" * 24, "id": name, "sha": sha, "siblings": siblings, "gated": gated, "private": False}
        self._json(facts | {"lastModified": "2026-01-01T00:00:00.000Z", "disabled": False, "tags": [], "downloads": 0})

    def _refs(self, repository: Repository) -> None:
        lists: dict[str, list] = {"branches": [], "converts": [], "tags": []}
        for branch, sha in repository.branches.items():
            converted = branch.startswith("refs/convert/")
            ref = branch if converted else f"refs/heads/{branch}"
            short = branch.removeprefix("refs/convert/")
            lists["converts" if converted else "branches"].append({"name": short, "ref": ref, "targetCommit": sha})
        self._json(lists)

    def _tree(self, path: str, files: Mapping[str, bytes], below: str, query: dict[str, list[str]]) -> None:
        prefix = below + "/" if below else ""
        names = [name for name in files if name.startswith(prefix)]
        if below and not names:
            raise _Refused(404, "EntryNotFound", f"{below} does not exist")
        folders = {name[: match.start()] for name in names for match in re.finditer("/", name)}
        entries = sorted({*names, *(folder for folder in folders if folder.startswith(prefix))})
        if query.get("recursive", ["false"])[0].lower() != "true":
            entries = [name for name in entries if "/" not in name.removeprefix(prefix)]
        first = int(query.get("cursor", ["0"])[0])
        headers = {}
        if first + PAGE < len(entries):
            rest = "&".join(f"{key}={quote(values[0])}" for key, values in query.items() if key != "cursor")
            headers["Link"] = f'<{self.server.hub.endpoint}{path}?{rest}&cursor={first + PAGE}>; rel="next"'
        self._json([_entry(files, name) for name in entries[first : first + PAGE]], headers)

    def _resolve(self, repository: Repository, revision: str, path: str) -> None:
        if repository.gated and self._token() not in repository.allowed:
            if self._token():
                raise _Refused(403, "GatedRepo", "Access to this dataset is restricted and you are not authorized.")
            raise _Refused(401, "GatedRepo", "Access to this dataset is restricted. You must be authenticated.")
        sha, files = _revision(repository, revision)
        if path not in files:
            # The client takes the commit from this header also when the file is missing.
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha})
            return
        content, headers = files[path], {"X-Repo-Commit": sha}
        if path.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            location = f"{self.server.hub.storage}/lfs/{digest}"
            self._answer(302, b"", headers | {"Location": location})
        else:
            self._send_file(content, headers | {"ETag": f'"{_blob_id(content)}"'})

    def _large(self, digest: str) -> bytes:
        for repository in self.server.hub.repositories.values():
            for files in repository.commits.values():
                for path, content in files.items():
                    if path.endswith(LARGE) and hashlib.sha256(content).hexdigest() == digest:
                        return content
        raise _Refused(404, "", "no such file")

    def _send_file(self, content: bytes, headers: dict[str, str]) -> None:
        headers |= {"Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not match:
            self._answer(200, content, headers)
            return
        first, last = int(match[1]), min(int(match[2] or len(content)), len(content) - 1)
        if first >= len(content):
            self._answer(416, b"", headers | {"Content-Range": f"bytes */{len(content)}"})
            return
        headers |= {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._answer(206, content[first : last + 1], headers)

    def _json(self, value: object, headers: Mapping[str, str] | None = None) -> None:
        self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"} | dict(headers or {}))

    def _answer(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        cut = None if self.fault is None or self.command == "HEAD" else self.fault.cut
        if self.fault and self.fault.corrupt and content and self.command != "HEAD":
            content = bytes([content[0] ^ 255]) + content[1:]
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            self.wfile.flush()
            if self.fault.reset:
                linger = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
            self.connection.close()
            self.close_connection = True


def _revision(repository: Repository, revision: str) -> tuple[str, dict[str, bytes]]:
    sha = repository.branches.get(revision, revision)
    if sha not in repository.commits:
        raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return sha, repository.commits[sha]


def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _entry(files: Mapping[str, bytes], path: str) -> dict | None:
    """A line of a listing, of a file or a folder; None when there is no such path."""
    if path in files:
        content = files[path]
        entry = {"type": "file", "path": path, "size": len(content), "oid": _blob_id(content)}
        if path.endswith(LARGE):
            digest = hashlib.sha256(content).hexdigest()
            entry["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 134}
        return entry
    if any(name.startswith(path + "/") for name in files):
        return {"type": "directory", "path": path, "size": 0, "oid": hashlib.sha1(path.encode()).hexdigest()}
    return None
