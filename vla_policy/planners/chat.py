"""The planner of an OpenAI-compatible chat server: one question, one bounded answer, or a reason why none.

Nothing of the server is trusted: no redirect is followed, time and size are bounded, and its words
go the way of a person's. The token is in no message and no log.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from vla_policy.planners.words import SYSTEM, question, seen_now
from vla_policy.runtime.images import encode_jpeg
from vla_policy.runtime.planning import PlanAnswer, Planner, PlanRequest, read_answer
from vla_policy.runtime.policy_protocol import PolicyProtocol, Unavailable
from vla_policy.types import Observation

TOKEN, TOKEN_FILE = "VLA_PLANNER_TOKEN", "VLA_PLANNER_TOKEN_FILE"
MAX_ANSWER_BYTES = 256 * 1024
MAX_TOKENS = 200  # of the answer, asked of the server
JPEG_QUALITY = 85
LOCAL = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ChatServer:
    """url: http(s)://HOST:PORT/v1. model: its name there. pictures: whether the newest image is sent.

    timeout_s: of a whole answer. Raises ValueError for an address that cannot be used.
    """

    url: str
    model: str
    timeout_s: float
    pictures: bool = True
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        expected = "expected http://HOST:PORT/v1 or https://HOST:PORT/v1"
        try:
            port = parts.port
        except ValueError as error:
            raise ValueError(f"planner: {error}; {expected}") from error
        if parts.username is not None or parts.password is not None:
            raise ValueError(
                f"planner at {parts.hostname}: a token in an address is read by everybody; set {TOKEN} or {TOKEN_FILE}"
            )
        odd = parts.query or parts.fragment or port == 0
        if parts.scheme not in ("http", "https") or not parts.hostname or odd:
            raise ValueError(f"planner: got {self.url!r}, {expected}")
        if not self.model:
            raise ValueError("planner_model: got none, expected the name of the server's model")
        if self.token and parts.scheme == "http" and parts.hostname not in LOCAL:
            raise ValueError(
                f"planner at {parts.hostname}: a token is sent to this machine or over https alone"
            )


def chat_planner(server: ChatServer) -> Planner:
    """A planner that asks server."""

    def plan(request: PlanRequest, policy: PolicyProtocol, observation: Observation) -> PlanAnswer:
        now = seen_now(request, policy, observation)
        image = next(iter(observation.images.values()), None) if server.pictures else None
        picture = None if image is None else encode_jpeg(image, quality=JPEG_QUALITY)
        answer = read_answer(ask(server, SYSTEM, question(request, policy, now), picture))
        return PlanAnswer(answer.kind, answer.text, now)

    return plan


def ask(server: ChatServer, system: str, user: str, picture: bytes | None) -> str:
    """The text of the server's answer. Raises Unavailable with a sentence, within timeout_s."""
    content: Any = user
    if picture is not None:
        url = f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"
        content = [
            {"type": "text", "text": user},
            {"type": "image_url", "image_url": {"url": url}},
        ]
    body = {
        "model": server.model,
        "temperature": 0,
        "max_tokens": MAX_TOKENS,
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": content},
        ],
    }
    return _text_of(_post(server, json.dumps(body).encode()))


def _post(server: ChatServer, body: bytes) -> bytes:
    parts, began_s = urlsplit(server.url), time.monotonic()
    where = f"the planner at {parts.hostname}"
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if server.token:
        headers["Authorization"] = f"Bearer {server.token}"
    connection = _connection(server)
    try:
        connection.connect()
        left_s = max(0.01, server.timeout_s - (time.monotonic() - began_s))
        with _deadline(connection.sock, left_s):
            connection.request("POST", f"{parts.path.rstrip('/')}/chat/completions", body, headers)
            response = connection.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() - began_s >= server.timeout_s:
            raise Unavailable(f"{where} did not answer within {server.timeout_s:g} s") from None
        raise Unavailable(f"{where} does not answer: {type(error).__name__}") from None
    finally:
        connection.close()
    if time.monotonic() - began_s >= server.timeout_s:
        raise Unavailable(f"{where} did not answer within {server.timeout_s:g} s")
    if response.status in (401, 403):
        raise Unavailable(f"{where} refuses with {response.status}: {TOKEN} is missing or wrong")
    if response.status != 200:
        raise Unavailable(f"{where} answered with HTTP {response.status}, expected 200")
    if len(data) > MAX_ANSWER_BYTES:
        raise Unavailable(f"{where} sent more than {MAX_ANSWER_BYTES} bytes")
    return data


def _connection(server: ChatServer) -> http.client.HTTPConnection:
    parts = urlsplit(server.url)
    host = parts.hostname or ""
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=server.timeout_s)
    context = ssl.create_default_context()
    return http.client.HTTPSConnection(host, parts.port, timeout=server.timeout_s, context=context)


@contextlib.contextmanager
def _deadline(sock: socket.socket, left_s: float) -> Iterator[None]:
    """Ends the connection after left_s: a timeout of a socket counts from every byte anew."""

    def end() -> None:
        with contextlib.suppress(OSError):  # it has just been closed
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(left_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _text_of(data: bytes) -> str:
    """choices[0].message.content. Raises Unavailable."""
    try:
        text = json.loads(data)["choices"][0]["message"]["content"]
    except (ValueError, RecursionError, LookupError, TypeError):
        text = None
    if not isinstance(text, str):
        raise Unavailable("the planner's server sent no chat completion with a text")
    return text
