"""The HTTP interface of the Hub, as far as the clients use it."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

from tests.helpers.local_hub import faults
from tests.helpers.local_hub.handler import Handler
from tests.helpers.local_hub.routes import Answer, Request, route
from tests.helpers.local_hub.store import LARGE, USERS, File, Refusal, Repository, Store

API = r"/api/(?P<kind>model|dataset)s/(?P<repo_id>[^/]+/[^/]+)"


class LocalHub:
    """A server with repositories in memory.

    Use as a context manager; ``requests`` lists what was asked since :meth:`arm`, ``"METHOD /path"``.
    """

    def __init__(self) -> None:
        self.store = Store()
        self.requests: list[str] = []
        self.fault: faults.Fault | None = None
        self.on_request: Callable[[str], None] | None = None
        self.stopped = threading.Event()
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> LocalHub:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.server.shutdown()
        self.server.server_close()

    def arm(self, fault: faults.Fault | None = None) -> None:
        """Count requests from here on, and let some fail."""
        self.requests, self.fault = [], fault

    def model(self, repo_id: str) -> Repository:
        return self.store.repositories["model", repo_id]

    def upload(self, kind: str, repo_id: str, files: dict[str, bytes], ref: str = "main") -> str:
        """Put files into a repository without a client."""
        repository = self.store.repositories.setdefault((kind, repo_id), Repository(repo_id))
        stored = {path: File(content, len(content) > LARGE) for path, content in files.items()}
        return repository.commit(ref, stored, "upload")

    @route("GET", r"/api/whoami-v2")
    def whoami(self, request: Request) -> Answer:
        if request.token not in USERS:
            raise Refusal(401, "Invalid username or password.")
        name, organisations = USERS[request.token]
        return Answer({"type": "user", "name": name, "orgs": [{"name": org} for org in organisations]})

    @route("POST", r"/api/repos/create")
    def create(self, request: Request) -> Answer:
        asked = request.json
        kind, repo_id = asked.get("type") or "model", f"{asked['organization']}/{asked['name']}"
        url = f"{self.url}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
        private = asked.get("visibility") == "private" or asked.get("private") is True
        try:
            self.store.create(kind, repo_id, request.token, private=private)
        except Refusal as refusal:
            if refusal.status == 409:
                return Answer({"error": refusal.message, "url": url}, 409)
            raise
        return Answer({"url": url})

    @route("POST", r"/api/validate-yaml")
    def validate(self, request: Request) -> Answer:
        return Answer({"errors": [], "warnings": []})

    @route("GET", r"/api/models")
    def models(self, request: Request) -> Answer:
        found = []
        for (kind, repo_id), repository in sorted(self.store.repositories.items()):
            card = repository.files().get("README.md", File(b"")).content.decode()
            tags = re.findall(r"^- (\S+)$", card.partition("\n---\n")[0], re.MULTILINE)
            wanted = set(request.query.get("filter", []))
            author = request.query.get("author", [repo_id.partition("/")[0]])[0]
            hidden = repository.private and not self.store.may_write(repo_id, request.token)
            if kind == "model" and wanted <= set(tags) and repo_id.startswith(f"{author}/") and not hidden:
                found.append({"id": repo_id, "sha": repository.refs["main"], "tags": tags})
        return Answer(found[: int(request.query.get("limit", ["1000"])[0])])

    @route("GET", API + r"/refs")
    def refs(self, request: Request, kind: str, repo_id: str) -> Answer:
        repository = self.store.visible(kind, repo_id, request.token)
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": sha}
            for name, sha in repository.refs.items()
            if not name.startswith("refs/")
        ]
        return Answer({"branches": branches, "converts": [], "tags": []})

    @route("POST", API + r"/branch/(?P<branch>[^/]+)")
    def branch(self, request: Request, kind: str, repo_id: str, branch: str) -> Answer:
        repository = self.store.visible(kind, repo_id, request.token)
        self.store.check_writable(repo_id, request.token)
        if branch in repository.refs:
            raise Refusal(409, "Reference already exists")
        repository.refs[branch] = repository.resolve(request.json.get("startingPoint", "main"))
        return Answer({})

    @route("GET", API + r"(/revision/(?P<revision>[^/]+))?")
    def info(self, request: Request, kind: str, repo_id: str, revision: str | None) -> Answer:
        repository = self.store.visible(kind, repo_id, request.token)
        sha = repository.resolve(revision or "main")
        siblings = [{"rfilename": path, **_blob(file)} for path, file in repository.files(sha).items()]
        return Answer({"id": repo_id, "sha": sha, "private": repository.private, "siblings": siblings})

    @route("GET", API + r"/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?")
    def tree(self, request: Request, kind: str, repo_id: str, revision: str, folder: str | None) -> Answer:
        files = self.store.visible(kind, repo_id, request.token).files(revision)
        start = f"{folder}/" if folder else ""
        inside = {path: file for path, file in files.items() if path.startswith(start)}
        if folder and not inside:
            raise Refusal(404, f"{folder} does not exist", "EntryNotFound")
        recursive = request.query.get("recursive", ["false"])[0].lower() == "true"
        folders = {
            start + "/".join(parts[:depth])
            for parts in (path[len(start) :].split("/") for path in inside)
            for depth in range(1, len(parts))
        }
        rows = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        rows += [_row(path, file) for path, file in inside.items()]
        return Answer([row for row in rows if recursive or "/" not in row["path"][len(start) :]])

    @route("POST", API + r"/paths-info/(?P<revision>[^/]+)")
    def paths_info(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        files = self.store.visible(kind, repo_id, request.token).files(revision)
        asked = parse_qs(request.body.decode()).get("paths", [])
        rows = [_row(path, files[path]) for path in asked if path in files]
        rows += [
            {"type": "directory", "path": path, "oid": "0" * 40, "size": 0}
            for path in asked
            if any(name.startswith(f"{path}/") for name in files)
        ]
        return Answer(rows)

    @route("POST", API + r"/preupload/(?P<revision>[^/]+)")
    def preupload(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        repository = self.store.visible(kind, repo_id, request.token)
        self._check_committer(request, repo_id)
        present = repository.files(revision)
        return Answer({"files": [_upload_mode(asked, present) for asked in request.json["files"]]})

    @route("POST", r"/(datasets/)?(?P<repo_id>[^/]+/[^/]+)\.git/info/lfs/objects/batch")
    def batch(self, request: Request, repo_id: str) -> Answer:
        self._check_committer(request, repo_id)
        objects = []
        for asked in request.json["objects"]:
            href = {"href": f"{self.url}/lfs/{asked['oid']}"}
            known = asked["oid"] in self.store.objects
            objects.append({**asked, **({} if known else {"actions": {"upload": href, "verify": href}})})
        return Answer({"transfer": "basic", "objects": objects})

    @route("PUT POST", r"/lfs/(?P<oid>\w+)")
    def large(self, request: Request, oid: str) -> Answer:
        if request.method == "PUT":
            if File(request.body).sha256 != oid:
                raise Refusal(400, "The content does not have this hash")
            self.store.objects[oid] = request.body
        elif oid not in self.store.objects:
            raise Refusal(404, "Not uploaded")
        return Answer({})

    @route("POST", API + r"/commit/(?P<revision>[^/]+)")
    def commit(self, request: Request, kind: str, repo_id: str, revision: str) -> Answer:
        repository = self.store.visible(kind, repo_id, request.token)
        proposes = "create_pr" in request.query
        if not proposes:
            self.store.check_writable(repo_id, request.token)
        lines = [json.loads(line) for line in request.body.splitlines()]
        header = lines[0]["value"]
        with self.store.lock:
            parent = repository.resolve(revision)
            if header.get("parentCommit", parent) != parent:
                raise Refusal(412, "A commit has happened since. Please refresh and try again.")
            files = dict(repository.files(parent))
            for line in lines[1:]:
                self._apply(line["key"], line["value"], files)
            ref, answer = revision, {}
            if proposes:
                repository.pulls += 1
                ref = f"refs/pr/{repository.pulls}"
                answer = {"pullRequestUrl": f"{self.url}/{repo_id}/discussions/{repository.pulls}"}
            elif revision not in repository.refs:
                raise Refusal(404, f"{revision} is no branch", "RevisionNotFound")
            sha = repository.commit(ref, files, header["summary"])
        place = "datasets/" if kind == "dataset" else ""
        url = f"{self.url}/{place}{repo_id}/commit/{sha}"
        return Answer({"success": True, "commitOid": sha, "commitUrl": url, **answer})

    @route(
        "GET HEAD", r"/(?P<data>datasets/)?(?P<repo_id>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"
    )
    def resolve(self, request: Request, data: str | None, repo_id: str, revision: str, path: str) -> Answer:
        repository = self.store.visible("dataset" if data else "model", repo_id, request.token)
        sha = repository.resolve(revision)
        file = repository.files(sha).get(path)
        headers = {"X-Repo-Commit": sha}
        if file is None:
            return Answer(b"Entry not found", 404, {**headers, "X-Error-Code": "EntryNotFound"})
        headers |= {"ETag": f'"{file.etag}"', "Accept-Ranges": "bytes"}
        if file.lfs:
            headers |= {"X-Linked-Etag": f'"{file.etag}"', "X-Linked-Size": str(len(file.content))}
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if not wanted:
            return Answer(file.content, 200, headers)
        first, last = int(wanted[1]), int(wanted[2] or len(file.content) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(file.content)}"
        return Answer(file.content[first : last + 1], 206, headers)

    def _check_committer(self, request: Request, repo_id: str) -> None:
        if request.token not in USERS:
            raise Refusal(401, "Invalid username or password.")
        if "create_pr" not in request.query and "lfs" not in request.headers.get("accept", ""):
            self.store.check_writable(repo_id, request.token)

    def _apply(self, key: str, value: dict[str, Any], files: dict[str, File]) -> None:
        if key == "file":
            files[value["path"]] = File(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in self.store.objects:
                raise Refusal(400, f"{value['path']} was not uploaded")
            files[value["path"]] = File(self.store.objects[value["oid"]], lfs=True)
        elif files.pop(value["path"], None) is None:
            raise Refusal(404, "A file with this name doesn't exist", "EntryNotFound")


def _blob(file: File) -> dict[str, Any]:
    size = len(file.content)
    lfs = {"lfs": {"sha256": file.sha256, "size": size, "pointerSize": 130}} if file.lfs else {}
    return {"size": size, "blobId": file.oid, **lfs}


def _row(path: str, file: File) -> dict[str, Any]:
    size = len(file.content)
    lfs = {"lfs": {"oid": file.sha256, "size": size, "pointerSize": 130}} if file.lfs else {}
    return {"type": "file", "path": path, "size": size, "oid": file.oid, **lfs}


def _upload_mode(asked: dict[str, Any], present: dict[str, File]) -> dict[str, Any]:
    file = present.get(asked["path"])
    lfs = asked["path"].endswith(".safetensors") or asked["size"] > 10 * LARGE
    known = {"oid": file.etag} if file else {}
    mode = "lfs" if lfs else "regular"
    return {"path": asked["path"], "uploadMode": mode, "shouldIgnore": False, **known}
