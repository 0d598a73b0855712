"""Hostile clients in a process of their own: every kind of frame of test/helpers/hostile.py, with and without the token.

Started by serve_hostile.py and serve_beside.py; prints `begun`, then frames sent and answers that held an action
although no right token was shown.
"""

import argparse
import contextlib
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "test" / "helpers"))

from hostile import GOOD, frames

from vla_policy.remote import wire

TOKEN = "of-the-benchmark"
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
STRANGERS = 0.05  # of the connections have no token


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("--frames", type=int, default=None, help="end after so many")
    parser.add_argument("--seconds", type=float, default=None, help="end after so long")
    parser.add_argument("--threads", type=int, default=3)
    args = parser.parse_args()
    attack = Attack(args.address, args.frames)
    attack.start(args.threads)
    print("begun", flush=True)
    attack.ended.wait(args.seconds)
    attack.ended.set()
    print(attack.sent, attack.actions)
    return 0


class Attacker:
    """That process, and what it found."""

    def __init__(self, address: str, *options: str) -> None:
        line = [sys.executable, __file__, address, *options]
        self._process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        if self._process.stdout.readline() != "begun\n":
            raise RuntimeError(f"the attack did not begin: {self._process.wait()}")

    def wait(self) -> tuple[int, int]:
        """Frames sent and actions got, when it has ended."""
        sent, actions = map(int, self._process.stdout.read().split())
        self._process.wait()
        return sent, actions


class Attack:
    """Threads that send hostile frames until so many are sent, or until ended is set."""

    def __init__(self, address: str, count: int | None) -> None:
        self._address, self._count, self._lock = address, count, threading.Lock()
        self.sent = self.actions = 0
        self.ended = threading.Event()

    def start(self, threads: int) -> None:
        for seed in range(threads):
            threading.Thread(target=self._run, args=(seed,), daemon=True).start()
        threading.Thread(target=self._drip, daemon=True).start()

    def _run(self, seed: int) -> None:
        rng = random.Random(f"{os.getpid()} {seed}")
        while not self.ended.is_set():
            stranger = rng.random() < STRANGERS
            sent, actions = self._without_token() if stranger else throw(self._address, rng, 200)
            with self._lock:
                self.sent, self.actions = self.sent + sent, self.actions + actions
                if self._count is not None and self.sent >= self._count:
                    self.ended.set()

    def _without_token(self) -> tuple[int, int]:
        """A right request with no token, and with a wrong one; OpenVLA's with none."""
        actions = 0
        with contextlib.suppress(OSError):  # a refusal is one of these
            url = self._address.replace("ws://", "http://") + "/act"
            urllib.request.urlopen(url, data=b"{}", timeout=5).read()
            actions += 1
        for token in (None, "wrong"):
            with contextlib.suppress(OSError, ValueError), Raw(self._address, token) as bad:
                bad.send(GOOD)
                said = wire.decode(bad.receive())
                actions += "actions" in said or "vla" in said
        return 3, actions

    def _drip(self) -> None:
        """A frame that comes a byte at a time."""
        while not self.ended.is_set():
            with contextlib.suppress(OSError), Raw(self._address, TOKEN) as bad:
                bad.receive()
                bad.socket.sendall(b"\x82\xfe\xff\xff\x00\x00\x00\x00")
                while not self.ended.wait(0.05):
                    bad.socket.sendall(b"\x00")
            time.sleep(0.1)


class Raw:
    """A WebSocket client of few instructions, so that an attack costs its machine little beside what it costs the server."""

    def __init__(self, address: str, token: str | None) -> None:
        self._at, self._token = address.removeprefix("ws://").split(":"), token

    def __enter__(self) -> "Raw":
        """Raises OSError if the server refuses it."""
        self.socket = socket.create_connection((self._at[0], int(self._at[1])), timeout=5)
        try:
            shown = "" if self._token is None else f"Authorization: Bearer {self._token}\r\n"
            self.socket.sendall(
                f"GET / HTTP/1.1\r\nHost: {':'.join(self._at)}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{shown}\r\n".encode()
            )
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += self._read(1)
            if b" 101 " not in head.partition(b"\r\n")[0]:
                raise ConnectionRefusedError(head[:40])
        except OSError:
            self.socket.close()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """One binary frame; a mask of zeros changes nothing."""
        size = len(data)
        width = struct.pack(">BB", 0x82, 0x80 | size) if size < 126 else (
            struct.pack(">BBH", 0x82, 0xFE, size) if size < 65536 else struct.pack(">BBQ", 0x82, 0xFF, size)
        )  # fmt: skip
        self.socket.sendall(width + bytes(4) + data)

    def receive(self) -> bytes:
        """The next frame of the server. Raises OSError if it is the last."""
        kind, size = self._read(2)
        if size >= 126:
            size = int.from_bytes(self._read(2 if size == 126 else 8), "big")
        data = self._read(size)
        if kind & 0x0F == 8:
            raise ConnectionResetError("closed")
        return data

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            if not (more := self.socket.recv(size - len(found))):
                raise ConnectionResetError("gone")
            found += more
        return found


def throw(address: str, rng: random.Random, count: int) -> tuple[int, int]:
    """Frames that were sent over one connection with the token, until the server ends it; no action is wrong there."""
    sent = 0
    with contextlib.suppress(OSError), Raw(address, TOKEN) as bad:
        bad.receive()
        for frame in frames(rng, count):
            sent += 1
            bad.send(frame)
            bad.receive()
    return sent, 0


def hold(address: str, count: int) -> list[socket.socket]:
    """Connections that are never finished: silent, or half a head."""
    host, port = address.removeprefix("ws://").split(":")
    found = []
    for i in range(count):
        with contextlib.suppress(OSError):
            one = socket.create_connection((host, int(port)), timeout=2)
            found.append(one)
            if i % 2:
                one.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n")
    return found


if __name__ == "__main__":
    sys.exit(main())
