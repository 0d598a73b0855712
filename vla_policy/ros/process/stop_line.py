"""A local socket to a control node: stop and reset without discovery, which can take seconds.

A Unix socket beside the node's note, in a folder that only the user can read. Requests are answered in the thread
of the node's other callbacks, so an answer means that the request was carried out.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from vla_policy.check.doctor.domains import discovery_range
from vla_policy.parsing.strict_json import parse_json
from vla_policy.ros.process.notes import Session, announce, line_of, withdraw

WORDS = ("stop", "reset")
ANSWER_S = 1.0
ASK_S = 0.2  # within which a caller must have sent its request
MOST = 4096  # bytes of a request or an answer

Answer = Callable[[str], tuple[bool, str]]  # request -> (accepted, sentence)


class StopLine:
    """The node's end. answer is called in a callback of node, whose executor must be turning."""

    def __init__(self, node: Any, path: Path, answer: Answer) -> None:
        self._node, self._path, self._answer = node, path, answer
        self._asked: SimpleQueue[tuple[str, socket.socket, SimpleQueue[tuple[bool, str]]]] = (
            SimpleQueue()
        )
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            path.unlink(missing_ok=True)
            with _address(path) as address:
                self._socket.bind(address)
            self._socket.listen(8)
        except OSError:
            self._socket.close()
            raise
        self._awake = node.create_guard_condition(self._turn)
        self._open, self._lock = True, threading.Lock()
        threading.Thread(target=self._listen, name="stop line", daemon=True).start()

    def close(self) -> None:
        """Later callers find no socket."""
        with self._lock:
            self._open = False
        try:
            self._path.unlink(missing_ok=True)
            self._socket.shutdown(socket.SHUT_RDWR)  # ends the wait of the thread
        finally:
            self._socket.close()
            self._node.destroy_guard_condition(self._awake)

    def _turn(self) -> None:
        while True:
            try:
                word, caller, heard = self._asked.get_nowait()
            except Empty:
                return
            # Its caller has timed out. A stop is carried out nevertheless; a reset is not,
            # as another operator may have stopped the robot since.
            if word != "stop" and _gone(caller):
                continue
            heard.put(self._answer(word))

    def _listen(self) -> None:
        while True:
            try:
                caller, _ = self._socket.accept()
            except OSError:
                return  # closed
            with caller:
                try:
                    self._serve(caller)
                except (OSError, ValueError, Empty):
                    continue  # the caller is gone or timed out, and reports it

    def _serve(self, caller: socket.socket) -> None:
        caller.settimeout(ASK_S)
        word = caller.recv(MOST).decode("ascii")
        if word not in WORDS:
            return
        heard: SimpleQueue[tuple[bool, str]] = SimpleQueue()
        self._asked.put((word, caller, heard))
        with self._lock:
            if not self._open:
                return
            self._awake.trigger()
        accepted, sentence = heard.get(timeout=ANSWER_S)
        caller.sendall(json.dumps({"accepted": accepted, "message": sentence[:1000]}).encode())


class Present:
    """The note of a control node, and its line; without them `vla stop` finds it by discovery alone."""

    def __init__(self, node: Any, robot: str, answer: Answer) -> None:
        self._control = f"{node.get_namespace().rstrip('/')}/{node.get_name()}"
        session = Session(
            os.getpid(), node.context.get_domain_id(), robot=robot, control=self._control,
            namespace=node.get_namespace().rstrip("/"),
            discovery=discovery_range(),
        )  # fmt: skip
        self._line: StopLine | None = None
        try:
            announce(session)
            self._line = StopLine(node, line_of(session), answer)
        except (OSError, ValueError) as error:
            node.get_logger().warning(f"`vla stop` has to look for this node longer: {error}")

    def close(self) -> None:
        """Remove both."""
        withdraw(self._control)
        if self._line is not None:
            self._line.close()
            self._line = None


def ask(path: Path, pid: int, word: str) -> tuple[bool, str]:
    """(whether the control node of that process has done it, its sentence).

    Raises OSError (TimeoutError among them) or ValueError if it does not answer, in ANSWER_S at most.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as line:
        line.settimeout(ANSWER_S)
        with _address(path) as address:
            line.connect(address)
        peer = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if peer != pid:
            raise ValueError(f"got an answer of process {peer}, expected {pid}")
        line.sendall(word.encode("ascii"))
        data = line.recv(MOST)
    if not data:
        raise TimeoutError("no answer")
    said = parse_json(data, "its answer")
    if not isinstance(said, dict) or not isinstance(said.get("accepted"), bool):
        raise ValueError(f"got an answer that is none: {data[:80]!r}")
    return said["accepted"], str(said.get("message", ""))


def _gone(caller: socket.socket) -> bool:
    """Whether the caller has disconnected; a waiting one sends nothing, so a read would block."""
    try:
        return bool(select.select([caller], [], [], 0.0)[0])
    except (OSError, ValueError):
        return True  # closed at this end


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """path as a socket's address, which is 107 bytes long at most: by the number of its open folder."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
