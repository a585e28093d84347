"""What can go wrong with one request."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler

STATUSES = ("500", "503", "429", "401", "403", "404", "409", "412")
BROKEN = ("drop", "stall", "cut", "truncate", "damage", "lost")
KINDS = (*STATUSES, *BROKEN)


@dataclass(frozen=True)
class Fault:
    """A failure of requests from number ``at`` on, counted from 0.

    ``drop`` closes the connection instead of answering, ``stall`` keeps silent, ``cut`` closes it in the
    middle of the answer, ``truncate`` answers with half and calls it whole, ``damage`` changes bytes,
    ``lost`` does what was asked and closes the connection; a number is the status that is answered.
    """

    kind: str
    at: int
    times: int = 1

    def hits(self, number: int) -> bool:
        return self.at <= number < self.at + self.times


def before(fault: Fault | None, handler: BaseHTTPRequestHandler, stopped: threading.Event) -> bool:
    """Fail before the request is acted on; whether that is so."""
    if fault is None or fault.kind not in ("drop", "stall"):
        return False
    if fault.kind == "stall":
        stopped.wait(2)
    handler.close_connection = True
    return True


def spoil(fault: Fault | None, body: bytes) -> tuple[bytes, int]:
    """The bytes to send, and the length to declare; fewer bytes than declared end the connection."""
    match fault.kind if fault else "":
        case "lost":
            return b"", -1
        case "cut":
            return body[: len(body) // 2], len(body)
        case "truncate":
            return body[: len(body) // 2], len(body) // 2
        case "damage":
            return bytes(byte ^ 1 if i % 7 == 3 else byte for i, byte in enumerate(body)), len(body)
        case _:
            return body, len(body)
