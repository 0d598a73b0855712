"""Policies of other projects' servers: openpi's, and those that send RoboArena's first frame.

They do not describe columns, so a policy file does (server_file.py), and they do not number their
replies, so a request without a reply in time ends the connection: a late reply is never read.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.checkpoint.contract import check as check_contract
from vla_policy.embodiment import Embodiment
from vla_policy.models.fitting import with_bars
from vla_policy.models.sampling import DEFAULT_OPTIONS, InferenceOptions
from vla_policy.parsing.files import one_line
from vla_policy.remote import wire
from vla_policy.remote.address import client_tls, parse_address
from vla_policy.remote.connection import FIRST_S, Connection
from vla_policy.remote.messages import rows_of
from vla_policy.remote.server_file import ServerFile
from vla_policy.runtime.policy_protocol import PlainPolicy, Unavailable
from vla_policy.types import ActionChunk, Array, Observation

TIMEOUT_S = (0.5, 60.0)
# RoboArena's action_space -> the space of an action group here.
SPACES = {
    "joint_position": "joint_position", "cartesian_position": "ee_pose", "cartesian_velocity": "ee_twist",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Arena:
    """The requirements in RoboArena's first frame. size: height and width of images; None: any."""

    size: tuple[int, int] | None
    session: bool


def read_arena(first: Any, file: ServerFile) -> Arena | None:
    """None for a first frame of another kind.

    Raises ValueError, naming the key, for mismatches.
    """
    if not isinstance(first, dict) or "action_space" not in first:
        return None
    space, groups = first["action_space"], dict(file.contract.spaces)
    wanted = SPACES.get(space) if isinstance(space, str) else None
    if wanted is None:
        raise ValueError(f"action_space: the server commands {one_line(repr(space), 60)}, robots here take "
                         f"{', '.join(SPACES)}")  # fmt: skip
    if wanted not in groups.values():
        raise ValueError(
            f"action_space: the server commands {space}, the policy file has {', '.join(groups.values())}"
        )
    wrist = sum("wrist" in key for key in file.cameras)
    outside = sum("exterior" in key for key in file.cameras)
    if first.get("needs_wrist_camera") and not wrist:
        raise ValueError(
            "cameras: the server needs observation/wrist_image_left, the policy file has none"
        )
    needed = first.get("n_external_cameras", 0)
    if type(needed) is not int or outside < needed * (
        2 if first.get("needs_stereo_camera") else 1
    ):
        raise ValueError(
            f"cameras: the server needs {one_line(repr(needed), 20)} exterior cameras, the policy file has {outside}"
        )
    size = first.get("image_resolution")
    plain = (
        isinstance(size, list)
        and len(size) == 2
        and all(type(n) is int and 0 < n <= 4096 for n in size)
    )
    if size is not None and not plain:
        raise ValueError(f"image_resolution: got {one_line(repr(size), 60)}, expected two sizes")
    return Arena(None if size is None else (size[0], size[1]), bool(first.get("needs_session_id")))


def write_request(
    file: ServerFile, arena: Arena | None, seen: Observation, session: str
) -> dict[str, Any]:
    """The observation with the server's keys, in its units."""
    message: dict[str, Any] = {}
    size = arena.size if arena is not None and arena.size is not None else None
    if size is None and file.side_px is not None:
        size = (file.side_px, file.side_px)
    for key, camera in file.cameras.items():
        if camera not in seen.images:
            raise ValueError(
                f"camera {camera!r} is missing; the observation has {', '.join(seen.images) or 'none'}"
            )
        picture = seen.images[camera] if size is None else with_bars(seen.images[camera], size)
        _put(message, key, picture.transpose(2, 0, 1) if file.layout == "chw" else picture)
    values = dict(zip(seen.state_names, seen.state, strict=True))
    for key, columns in file.state.items():
        _put(message, key, np.array([_theirs(file, name, values[name]) for name in columns]))
    _put(message, file.prompt, seen.instruction)
    if arena is not None:
        message["endpoint"] = "infer"
        if arena.session:
            message["session_id"] = session
    return message


def read_rows(file: ServerFile, reply: Any, seen: Observation) -> Array:
    """float64[rows, columns] in the robot's units from a reply. Raises ValueError if invalid."""
    actions = reply.get("actions") if isinstance(reply, dict) else reply
    names = file.contract.action_names
    if isinstance(actions, list):  # of numbers, or one array per row
        _require_numbers(actions)
        try:
            actions = np.array(actions, np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"actions: {one_line(error, 100)}") from error
        if not np.isfinite(actions).all():
            raise ValueError("actions: numbers that are not finite")
    if isinstance(actions, np.ndarray) and actions.ndim == 1:
        actions = actions[None]
    rows = rows_of(actions, "actions", len(names))
    if len(rows) > file.rows:
        raise ValueError(f"actions: got {len(rows)} rows, expected at most {file.rows}")
    values = dict(zip(seen.state_names, seen.state, strict=True))
    for column, name in enumerate(names):
        if name in file.inverted:
            rows[:, column] = 1.0 - rows[:, column]
        rows[:, column] *= file.scale.get(name, 1.0)
        if name in file.relative:
            rows[:, column] += values[name]
    return rows


def timeout_of(file: ServerFile) -> float:
    """Timeout of one request, s: after a chunk's last row is due, its answer is useless."""
    low, high = TIMEOUT_S
    return min(high, max(low, file.rows * file.contract.step_ns / 1e9))


def refuse_options(options: InferenceOptions) -> None:
    """Raises ValueError for an option that is not at its default; the seed has no effect there."""
    for name in ("num_steps", "solver", "guidance", "frozen_rows", "guidance_rows", "candidates"):
        if getattr(options, name) != getattr(DEFAULT_OPTIONS, name):
            raise ValueError(f"{name}: a server of another project takes no such option")


class ForeignPolicy(PlainPolicy):
    """The policy of another project's server, as a policy file describes it. One request at a time."""

    def __init__(self, file: ServerFile, token: str | None, ca: str | None = None) -> None:
        """Connects.

        Raises Unavailable without a server, ValueError if the file lacks what it needs.
        """
        self._file, self._lock = file, threading.Lock()
        self._arena: Arena | None = None
        self._session = uuid.uuid4().hex
        url = parse_address(file.address).url
        self._connection = Connection(url, token, client_tls(url, ca), self._greet)
        self._connection.connect(FIRST_S)

    @property
    def contract(self) -> Contract:
        """The contract of the policy file."""
        return self._file.contract

    @property
    def rows(self) -> int:
        """Rows of a chunk, at most."""
        return self._file.rows

    @property
    def timeout_s(self) -> float:
        """For one request: after a chunk's last row is due, its answer is useless."""
        return timeout_of(self._file)

    def check(self, embodiment: Embodiment) -> tuple[str, ...]:
        """One sentence for each difference of embodiment and the policy file; empty if none."""
        return check_contract(self.contract, embodiment)

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            self._connection.close()

    def infer_chunk(
        self, observation: Observation, previous: ActionChunk | None, options: InferenceOptions
    ) -> ActionChunk:
        """The chunk of actions for observation; such servers support no options.

        Raises ValueError for an option or an incomplete observation, Unavailable without an
        answer.
        """
        refuse_options(options)
        started_ns = time.perf_counter_ns()
        with self._lock:
            reply = self._ask(observation)
            try:
                rows = read_rows(self._file, reply, observation)
            except ValueError as error:
                raise self._connection.failed(f"the server sent {error}") from error
        return ActionChunk(
            rows,
            self.contract.action_names,
            observation.obs_ns,
            self.contract.step_ns,
            0,
            observation.instruction,
            infer_ns=time.perf_counter_ns() - started_ns,
        )

    def _ask(self, observation: Observation) -> Any:
        ends_s = time.monotonic() + self.timeout_s
        self._connection.ready(self.timeout_s)  # the first frame determines the request
        self._connection.refuse_unasked()  # it would be read as the reply to this request
        message = write_request(self._file, self._arena, observation, self._session)
        self._connection.request(wire.encode(message), max(0.05, ends_s - time.monotonic()))
        try:
            data = self._connection.reply(ends_s)
        except TimeoutError as error:
            raise self._connection.failed(f"no answer in {self.timeout_s:.2f} s") from error
        if isinstance(data, str):  # openpi sends its model's exception, and closes the connection
            last = data.strip().splitlines()[-1:] or [""]
            raise self._connection.failed(f"the server failed: {one_line(last[0], 300)}")
        try:
            reply = wire.decode(data)
        except ValueError as error:
            raise self._connection.failed(f"the server sent what is no answer: {error}") from error
        self._connection.worked()
        return reply

    def _greet(self, first: bytes | str) -> None:
        if isinstance(first, str):
            raise Unavailable(f"{self._file.address}: {one_line(first, 300)}")
        try:
            self._arena = read_arena(wire.decode(first), self._file)
        except ValueError as error:
            raise ValueError(f"{self._file.address}: {error}") from error


def _require_numbers(actions: list[Any]) -> None:
    """Raises ValueError for strings and booleans, which numpy would convert to numbers."""
    for row in actions:
        for value in row if isinstance(row, list) else (row,):
            if isinstance(value, Array):
                fine = value.dtype.kind in "fiu"
            else:
                fine = isinstance(value, int | float) and not isinstance(value, bool)
            if not fine:
                raise ValueError(f"actions: got {one_line(repr(value), 60)}, expected numbers")


def _theirs(file: ServerFile, name: str, value: float) -> float:
    value = value / file.scale.get(name, 1.0)
    return 1.0 - value if name in file.inverted else value


def _put(message: dict[str, Any], key: str, value: Any) -> None:
    """Set message[key]; a dot descends into a nested mapping."""
    *above, last = key.split(".")
    for part in above:
        message = message.setdefault(part, {})
    message[last] = value
