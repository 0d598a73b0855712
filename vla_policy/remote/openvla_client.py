"""Client of OpenVLA's server: one image and one sentence, one action back (see openvla.py)."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
import time
import urllib.parse
from typing import Any

from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.contract import check as check_contract
from vla_policy.embodiment import Embodiment
from vla_policy.models.sampling import InferenceOptions
from vla_policy.parsing.files import one_line
from vla_policy.parsing.strict_json import parse_json
from vla_policy.remote.address import client_tls
from vla_policy.remote.connection import bounded
from vla_policy.remote.foreign import read_rows, refuse_options, timeout_of, write_request
from vla_policy.remote.openvla import TAG, read_array, write_array
from vla_policy.remote.server_file import ServerFile
from vla_policy.runtime.policy_protocol import PlainPolicy, Unavailable
from vla_policy.types import ActionChunk, Array, Observation

MAX_REPLY = 1024 * 1024
WHERE = "reply"


class OpenVlaPolicy(PlainPolicy):
    """The policy of an OpenVLA server, as a policy file describes it.

    One connection per request.
    """

    def __init__(self, file: ServerFile, token: str | None, ca: str | None = None) -> None:
        self._file, self._token = file, token
        self._tls = client_tls(file.address.replace("https:", "wss:"), ca)

    @property
    def contract(self) -> Contract:
        """The contract of the policy file."""
        return self._file.contract

    @property
    def rows(self) -> int:
        """Rows of a chunk, at most."""
        return self._file.rows

    def check(self, embodiment: Embodiment) -> tuple[str, ...]:
        """One sentence for each difference of embodiment and the policy file; empty if none."""
        return check_contract(self.contract, embodiment)

    def close(self) -> None:
        """Does nothing: no connection stays open."""

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """The action for observation, as a chunk.

        Raises ValueError for an option, or Unavailable.
        """
        refuse_options(options)
        started_ns = time.perf_counter_ns()
        message = write_request(self._file, None, observation, "")
        if self._file.unnorm_key:
            message["unnorm_key"] = self._file.unnorm_key
        body = json.dumps(
            {k: write_array(v) if isinstance(v, Array) else v for k, v in message.items()}
        )
        try:
            rows = read_rows(self._file, _action(self._asked(body.encode())), observation)
        except ValueError as error:
            raise Unavailable(
                f"{self._file.address}: the server sent {one_line(error, 300)}"
            ) from error
        return ActionChunk(
            rows, self.contract.action_names, observation.obs_ns, self.contract.step_ns, 0, observation.instruction,
            infer_ns=time.perf_counter_ns() - started_ns,
        )  # fmt: skip

    def _asked(self, body: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        allowed_s, late = timeout_of(self._file), threading.Event()
        url = urllib.parse.urlsplit(self._file.address)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        connection = http.client.HTTPConnection(host, port)
        ends_s = time.monotonic() + allowed_s
        try:
            raw = socket.create_connection((host, port), timeout=allowed_s)
            if self._tls is not None:
                raw = self._tls.wrap_socket(
                    raw, server_hostname=host, do_handshake_on_connect=False
                )
            connection.sock = raw
            with bounded(raw, ends_s) as late:
                if isinstance(raw, ssl.SSLSocket):
                    raw.do_handshake()
                connection.request("POST", _path(url), body, headers)
                reply = connection.getresponse()
                data = reply.read(MAX_REPLY + 1)
        except (OSError, http.client.HTTPException) as error:
            why = "" if late.is_set() else f": {one_line(error, 200)}"
            when = f" in {allowed_s:.2f} s" if late.is_set() else ""
            raise Unavailable(f"{self._file.address}: no answer{when}{why}") from error
        finally:
            connection.close()
        if late.is_set():  # the data may be only the beginning of a reply
            raise Unavailable(f"{self._file.address}: no answer in {allowed_s:.2f} s")
        if reply.status != http.client.OK:  # redirects are refused too
            said = one_line(data[:1000].decode(errors="replace"), 200)
            raise Unavailable(f"{self._file.address}: HTTP {reply.status}: {said}")
        if len(data) > MAX_REPLY:
            raise Unavailable(f"{self._file.address}: the server sent more than {MAX_REPLY} bytes")
        return data


def _path(url: urllib.parse.SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _action(data: bytes) -> Any:
    """The array in a reply: in json-numpy's form, as JSON text, or as plain numbers."""
    said = parse_json(data, WHERE)
    if isinstance(said, str):
        if said == "error":  # OpenVLA's only report of a failure
            raise ValueError("'error'; its log has more")
        said = parse_json(said.encode(), WHERE)
    if isinstance(said, list) and said and all(isinstance(row, dict) for row in said):
        return [read_array(row, WHERE) for row in said]
    return read_array(said, WHERE) if isinstance(said, dict) and TAG in said else said
