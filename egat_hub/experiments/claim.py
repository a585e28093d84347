"""Who is at work on a folder, so that machines that share one do nothing twice."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from egat_hub.core.distributed import gather_objects, rank

BEAT = 30.0
"""Seconds between signs of life."""

SILENCE = 600.0
"""Seconds without one after which a claim is void: far above a pause of the network or of a file server."""

NAME = re.compile(r"claim\.(\d+)")


class Claim:
    """A folder that this process works on, and nobody else.

    The claim is a file that only one process can create (``O_EXCL``, which NFS knows; no locks). A thread
    touches it while the process lives. One that is void is not removed but outnumbered: who creates
    ``claim.<n+1>`` takes over from ``claim.<n>``, so two can never take over from one. Names come again once
    a claim is released, so it is known by its text, which has a token. Its age is told by the clock of the
    file system, never by those of the machines.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, text: str, beat: float) -> None:
        self.path = path
        self._text = text
        self._over = threading.Event()
        threading.Thread(target=self._live, args=(beat,), daemon=True).start()

    @classmethod
    def take(cls, folder: Path, *, beat: float = BEAT, silence: float = SILENCE) -> Claim | None:
        """Claim a folder, which is created; None if another process has it.

        If the claim is lost all the same, because this process was silent for too long, the main thread is
        interrupted (``KeyboardInterrupt``), with a message; where interrupts are ignored, the process ends.

        Args:
            folder: what to work on.
            beat: seconds between signs of life.
            silence: seconds without one after which a claim is void; that of a process of this host is so at
                once when the process is gone.
        """
        folder.mkdir(parents=True, exist_ok=True)
        last = _last(folder)
        void = None if last is None else folder / f"claim.{last}"
        found = void and _text(void)
        if void and not _is_void(void, silence):
            return None
        path = folder / f"claim.{0 if last is None else last + 1}"
        told = {**_here(), "since": time.strftime("%Y-%m-%d %H:%M:%S %z"), "token": uuid.uuid4().hex}
        text = json.dumps(told) + "\n"
        try:
            file = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return None
        with os.fdopen(file, "w") as writable:
            writable.write(text)
        if _last(folder) != _number(path) or (void and _text(void) != found):
            path.unlink()  # while this process looked, others took the folder over and released it
            return None
        return cls(path, text, beat)

    def release(self) -> None:
        """Let others have the folder; this claim and those that it took over from go."""
        self._over.set()
        if _text(self.path) == self._text:
            for number in range(_number(self.path) + 1):
                (self.path.parent / f"claim.{number}").unlink(missing_ok=True)

    def _live(self, beat: float) -> None:
        while not self._over.wait(beat):
            try:
                lost = _last(self.path.parent) != _number(self.path) or _text(self.path) != self._text
                if not lost:
                    os.utime(self.path)
            except FileNotFoundError:
                lost = True
            except OSError:  # the file server is away for a moment
                continue
            if lost and not self._over.is_set():
                print(f"{self.path.parent} was taken over while this process gave no sign of life; stopping.")
                ignored = (
                    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
                )  # as shells start what they put behind
                os.kill(os.getpid(), signal.SIGTERM if ignored else signal.SIGINT)
                return


@contextmanager
def claimed_if_free(folder: Path) -> Iterator[bool]:
    """Claim a folder for the processes of one launch, which all call this; yields whether they have it."""
    claim = Claim.take(folder) if rank() == 0 else None
    try:
        yield gather_objects(claim is not None)[0]
    finally:
        if claim is not None:
            claim.release()


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Inside, a folder belongs to the processes of one launch; every one of them calls this.

    Raises:
        FileExistsError: another command is at work on it.
    """
    with claimed_if_free(folder) as ours:
        if not ours:
            raise FileExistsError(
                f"{folder} is being worked on by {owner(folder) or 'another command'}; let it finish, or "
                "name another --output."
            )
        yield


def owner(folder: Path) -> str:
    """Who has a folder, for people to read; empty if nobody has."""
    last = _last(folder)
    found = {} if last is None else _read(folder / f"claim.{last}")
    return f"{found['host']}, process {found['pid']}" if found else ""


def _number(path: Path) -> int:
    return int(path.name.rpartition(".")[2])


def _last(folder: Path) -> int | None:
    """Number of the claim that counts."""
    return max((int(m[1]) for name in os.listdir(folder) if (m := NAME.fullmatch(name))), default=None)


def _is_void(path: Path, silence: float) -> bool:
    found, here = _read(path), _here()
    if found and all(found[key] == here[key] for key in ("host", "space")) and not _is_alive(found["pid"]):
        return True
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock.") as clock, path.open() as file:
            clock.write(b".")  # so that the file system dates it
            clock.flush()
            return os.fstat(clock.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime > silence
    except FileNotFoundError:
        return False  # released just now: the next look finds no claim


def _text(path: Path) -> str | None:
    """What stands in a claim; None if it is gone."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return None


def _read(path: Path) -> dict[str, str | int]:
    """What a claim says; nothing if it is gone, or not written yet."""
    try:
        return dict(json.loads(_text(path) or "{}"))
    except ValueError:
        return {}


def _here() -> dict[str, str | int]:
    """This process, and the space in which its number means something: a container has its own."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        space = ""
    return {"host": socket.gethostname(), "space": space, "pid": os.getpid()}


def _is_alive(pid: int | str) -> bool:
    if os.name != "posix":
        return True
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
