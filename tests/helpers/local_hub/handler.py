"""Reads requests off a connection and writes answers to it, or fails to."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.helpers.local_hub import faults
from tests.helpers.local_hub.routes import ROUTES, Answer, Request
from tests.helpers.local_hub.store import Refusal


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # an answer in one packet
    disable_nagle_algorithm = True
    hub: Any

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        body, hub = self._body(), self.hub
        url = urlsplit(self.path)
        if url.path == "/api/agent-harnesses":
            self._send(Answer({}, 404), None)
            return
        asked = f"{self.command} {url.path}"
        with hub.store.lock:
            number = len(hub.requests)
            hub.requests.append(asked)
        if hub.on_request:
            hub.on_request(asked)
        fault = hub.fault if hub.fault and hub.fault.hits(number) else None
        if faults.before(fault, self, hub.stopped):
            return
        if fault and fault.kind in faults.STATUSES:
            self._send(Answer({"error": "injected"}, int(fault.kind)), None)
            return
        headers = {key.lower(): value for key, value in self.headers.items()}
        token = headers.get("authorization", "").removeprefix("Bearer ")
        request = Request(self.command, token, parse_qs(url.query, keep_blank_values=True), headers, body)
        try:
            answer = self._route(url.path, request)
        except Refusal as refusal:
            code = {"X-Error-Code": refusal.code} if refusal.code else {}
            message = {"X-Error-Message": refusal.message}
            answer = Answer({"error": refusal.message}, refusal.status, {**code, **message})
        self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = _serve

    def _route(self, path: str, request: Request) -> Answer:
        for method, pattern, function in ROUTES:
            found = pattern.fullmatch(path)
            if method == request.method and found:
                names = {key: value and unquote(value) for key, value in found.groupdict().items()}
                return function(self.hub, request, **names)
        raise Refusal(404, f"No such page: {request.method} {path}")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer, fault: faults.Fault | None) -> None:
        content = answer.content if isinstance(answer.content, bytes) else json.dumps(answer.content).encode()
        sent, declared = faults.spoil(fault, content)
        if declared < 0:
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(declared))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(sent)
        if len(sent) < declared:
            self.close_connection = True
