"""Repositories in memory: files, commits, branches, pull requests, and who may do what."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field

OWNER, GUEST = "hf_owner", "hf_guest"
USERS = {OWNER: ("owner", ("org",)), GUEST: ("guest", ())}
LARGE = 10_000


class Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str, code: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code


@dataclass(frozen=True)
class File:
    content: bytes
    lfs: bool = False

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def oid(self) -> str:
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()

    @property
    def etag(self) -> str:
        return self.sha256 if self.lfs else self.oid


@dataclass
class Repository:
    repo_id: str
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, File]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    pulls: int = 0

    def commit(self, ref: str, files: dict[str, File], message: str) -> str:
        parts = (self.refs.get(ref, ""), message, *(f"{path} {f.oid}" for path, f in sorted(files.items())))
        sha = hashlib.sha1("\n".join(parts).encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.refs[ref] = sha
        self.messages.append(message)
        return sha

    def resolve(self, revision: str) -> str:
        sha = self.refs.get(revision, revision)
        if sha not in self.commits:
            raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return sha

    def files(self, revision: str = "main") -> dict[str, File]:
        return self.commits[self.resolve(revision)]


@dataclass
class Store:
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    objects: dict[str, bytes] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def create(self, kind: str, repo_id: str, token: str, *, private: bool) -> Repository:
        self.check_writable(repo_id, token)
        if (kind, repo_id) in self.repositories:
            raise Refusal(409, "You already created this model repo")
        repository = self.repositories[kind, repo_id] = Repository(repo_id, private)
        repository.commit("main", {".gitattributes": File(b"*.safetensors filter=lfs\n")}, "initial commit")
        return repository

    def visible(self, kind: str, repo_id: str, token: str) -> Repository:
        repository = self.repositories.get((kind, repo_id))
        if repository is None or (repository.private and not self.may_write(repo_id, token)):
            raise Refusal(404 if token in USERS else 401, "Repository not found", "RepoNotFound")
        if repository.gated and not self.may_write(repo_id, token):
            raise Refusal(403, "Access to this model is restricted", "GatedRepo")
        return repository

    def may_write(self, repo_id: str, token: str) -> bool:
        name, organisations = USERS.get(token, ("", ()))
        return repo_id.partition("/")[0] in (name, *organisations)

    def check_writable(self, repo_id: str, token: str) -> None:
        if token not in USERS:
            raise Refusal(401, "Invalid username or password.")
        if not self.may_write(repo_id, token):
            raise Refusal(403, "You don't have the rights to write to this namespace")
