"""Contents of requests and replies: openpi's keys, and one key of our own for the rest.

    observation/<camera>   uint8[h, w, 3] RGB, or the bytes of a JPEG or PNG file; images: {<camera>: ...} as well
    observation/state      float[s] in the order of contract.state_names; state as well
    prompt                 the instruction
    endpoint               infer or reset, as sent by RoboArena's clients; infer if missing
    vla                    request_id, want, obs_ns, deadline_s, options, previous, candidates, question, adapter

A client without `vla` gets the reply of openpi's server: actions float64[rows, columns], state,
timings.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.models.sampling import DEFAULT_OPTIONS, MAX_CANDIDATES, InferenceOptions, Pull
from vla_policy.parsing.files import one_line
from vla_policy.runtime.images import compressed_size, decode_compressed
from vla_policy.runtime.instruction import refuse_instruction
from vla_policy.types import ActionChunk, Array, Observation

OWN = "vla"
PROMPT, STATE, IMAGES, ENDPOINT = "prompt", "observation/state", "images", "endpoint"
WANTS = ("infer", "candidates", "understands", "sees", "point", "ask")
OWN_KEYS = (
    "request_id", "want", "obs_ns", "deadline_s", "options", "previous", "candidates", "question", "adapter",
)  # fmt: skip
MAX_PIXELS = 2048 * 2048
MAX_STEPS, MAX_ROWS = 100, 1000
MAX_DEADLINE_S = 60.0
INT64 = 2**63


@dataclass(frozen=True, slots=True)
class Asked:
    """One checked request. observation: None if not needed. own: sent by our client.

    adapter: the adapter to use; None: the policy itself.
    """

    want: str
    observation: Observation | None
    instruction: str
    options: InferenceOptions
    previous: ActionChunk | None
    candidates: int
    question: str
    deadline_s: float | None
    request_id: int
    own: bool
    adapter: str | None = None


def camera_key(camera: str) -> str:
    """The key of a camera's image in a request."""
    return f"observation/{camera}"


def read_request(message: Any, contract: Contract, adapters: Collection[str] = ()) -> Asked:
    """A request for a policy of contract. Raises ValueError, one sentence that names the key."""
    if not isinstance(message, dict):
        raise ValueError(f"request: got {type(message).__name__}, expected a mapping")
    said = message.get(OWN, {})
    if not isinstance(said, dict) or not set(said) <= set(OWN_KEYS):
        got = sorted(set(said) - set(OWN_KEYS)) if isinstance(said, dict) else type(said).__name__
        raise ValueError(f"{OWN}: got {got}, expected some of {', '.join(OWN_KEYS)}")
    adapter = said.get("adapter")
    if adapter is not None and (not isinstance(adapter, str) or adapter not in adapters):
        raise ValueError(
            f"{OWN}.adapter: got {_short(adapter)}, this server has {', '.join(sorted(adapters)) or 'none'}"
        )
    want = said.get("want", "infer")
    if want not in WANTS:
        raise ValueError(f"{OWN}.want: got {_short(want)}, expected one of {', '.join(WANTS)}")
    instruction = message.get(PROMPT, "")
    if not isinstance(instruction, str):
        raise ValueError(f"{PROMPT}: got {_short(instruction)}, expected a text")
    if (problem := refuse_instruction(instruction)) is not None:
        raise ValueError(f"{PROMPT}: {problem}")
    obs_ns = _whole(said, "obs_ns", 1, -INT64, INT64 - 1)
    needs_eyes = want != "understands"
    return Asked(
        want=want,
        observation=_observation(message, contract, instruction, obs_ns) if needs_eyes else None,
        instruction=instruction,
        options=_options(said.get("options", {})),
        previous=None
        if said.get("previous") is None
        else read_chunk(said["previous"], contract, obs_ns=obs_ns, instruction=instruction),
        candidates=_whole(said, "candidates", 1, 1, MAX_CANDIDATES),
        question=_text(said.get("question", ""), f"{OWN}.question"),
        deadline_s=_deadline(said.get("deadline_s")),
        request_id=_whole(said, "request_id", 0, 0, INT64 - 1),
        own=OWN in message,
        adapter=adapter,
    )


def _observation(
    message: Mapping[str, Any], contract: Contract, instruction: str, obs_ns: int
) -> Observation:
    images = message.get(IMAGES, {})
    if not isinstance(images, dict):
        raise ValueError(f"{IMAGES}: got {_short(images)}, expected a mapping of cameras")
    given = {**images, **{n: message[camera_key(n)] for n in contract.camera_names
                          if camera_key(n) in message}}  # fmt: skip
    missing = [name for name in contract.camera_names if name not in given]
    if missing:
        there = sorted(k for k in message if k not in (PROMPT, OWN, ENDPOINT))
        raise ValueError(
            f"request: no image {', '.join(camera_key(name) for name in missing)}; "
            f"got {one_line(', '.join(map(str, there)), 200) or 'nothing'}"
        )
    state = message.get(STATE, message.get("state"))
    width = len(contract.state_names)
    if isinstance(state, list):
        state = _numbers(state)
    if (
        not isinstance(state, np.ndarray)
        or state.shape != (width,)
        or state.dtype.kind not in "fiu"
    ):
        got = (
            f"{state.dtype}{list(state.shape)}" if isinstance(state, np.ndarray) else _short(state)
        )
        raise ValueError(
            f"{STATE}: got {got}, expected float[{width}]: {', '.join(contract.state_names)}"
        )
    pictures = {n: _picture(given[n], camera_key(n)) for n in contract.camera_names}
    return Observation(pictures, state, contract.state_names, instruction, obs_ns)


def _picture(value: Any, where: str) -> Array:
    """uint8[h, w, 3] from an array, with the colours last or first, or from a compressed file."""
    if isinstance(value, bytes):
        size = compressed_size(value)
        if size is not None and size[0] * size[1] > MAX_PIXELS:
            raise ValueError(
                f"{where}: got {size[0]} x {size[1]} pixels, expected at most {MAX_PIXELS}"
            )
        return decode_compressed(value, "jpeg or png", where=where)
    if not isinstance(value, np.ndarray) or value.dtype != np.uint8 or value.ndim != 3:
        got = (
            f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else _short(value)
        )
        raise ValueError(
            f"{where}: got {got}, expected uint8[h, w, 3] or the bytes of a JPEG file"
        )
    if value.shape[2] != 3 and value.shape[0] == 3:  # as sent by ALOHA's clients
        value = np.ascontiguousarray(value.transpose(1, 2, 0))
    picture: Array = value
    if value.shape[2] != 3 or not 0 < value.shape[0] * value.shape[1] <= MAX_PIXELS:
        raise ValueError(
            f"{where}: got uint8{list(value.shape)}, expected uint8[h, w, 3] of 1 to {MAX_PIXELS} pixels"
        )
    return picture


def _options(said: Any) -> InferenceOptions:
    if not isinstance(said, dict):
        raise ValueError(f"{OWN}.options: got {_short(said)}, expected a mapping")
    known = set(asdict(DEFAULT_OPTIONS))
    if not set(said) <= known:
        raise ValueError(
            f"{OWN}.options: got {sorted(set(said) - known)}, expected some of {sorted(known)}"
        )
    where = {f"{OWN}.options.{key}": value for key, value in said.items()}
    if (steps := said.get("num_steps")) is not None and not (
        type(steps) is int and 1 <= steps <= MAX_STEPS
    ):
        raise ValueError(
            f"{OWN}.options.num_steps: got {_short(steps)}, expected 1 to {MAX_STEPS}"
        )
    for key in ("seed", "frozen_rows", "guidance_rows"):
        if key in said and said[key] is not None:
            _whole(where, f"{OWN}.options.{key}", 0, 0, INT64 - 1)
    if "candidates" in said:
        _whole(where, f"{OWN}.options.candidates", 1, 1, MAX_CANDIDATES)
    if not isinstance(said.get("solver", ""), str):
        raise ValueError(f"{OWN}.options.solver: got {_short(said['solver'])}, expected a name")
    if not _is_number(said.get("guidance", 1.0)):
        raise ValueError(
            f"{OWN}.options.guidance: got {_short(said['guidance'])}, expected a number"
        )
    plain = dict(said)
    if "pull" in plain:
        plain["pull"] = _pull(plain["pull"])
    return InferenceOptions(**plain)


def _pull(said: Any) -> Pull:
    keys = {"schedule": str, "max_weight": float, "jacobian": bool}
    if not isinstance(said, dict) or set(said) != set(keys) or not all(
        isinstance(said[key], kind) for key, kind in keys.items()
    ):  # fmt: skip
        raise ValueError(f"{OWN}.options.pull: got {_short(said)}, expected {', '.join(keys)}")
    return Pull(**said)


def write_options(options: InferenceOptions) -> dict[str, Any]:
    """The options that differ from their defaults."""
    default = asdict(DEFAULT_OPTIONS)
    return {k: v for k, v in asdict(options).items() if k in default and v != default[k]}


def write_chunk(chunk: ActionChunk) -> dict[str, Any]:
    """A chunk as part of a message; observation, step and instruction are known on both sides."""
    return {
        "actions": chunk.actions,
        "names": list(chunk.names),
        "sequence": chunk.sequence,
        "plan": chunk.plan,
        "terminate": chunk.terminate,
        "frozen_rows": chunk.frozen_rows,
        "continues": chunk.continues,
        "model_actions": chunk.model_actions,
    }


def read_chunk(said: Any, contract: Contract, *, obs_ns: int, instruction: str) -> ActionChunk:
    """A chunk of this contract from a message. Raises ValueError for any other."""
    keys = {
        "actions", "names", "sequence", "plan", "terminate", "frozen_rows", "continues", "model_actions",
    }  # fmt: skip
    if not isinstance(said, dict) or set(said) != keys:
        raise ValueError(f"chunk: got {_short(said)}, expected {', '.join(sorted(keys))}")
    if said["names"] != list(contract.action_names):
        raise ValueError(
            f"chunk.names: got {_short(said['names'])}, expected {', '.join(contract.action_names)}"
        )
    if not isinstance(said["terminate"], bool):
        raise ValueError(
            f"chunk.terminate: got {_short(said['terminate'])}, expected true or false"
        )
    continues = said["continues"]
    return ActionChunk(
        actions=rows_of(said["actions"], "chunk.actions", len(contract.action_names)),
        names=contract.action_names,
        obs_ns=obs_ns,
        step_ns=contract.step_ns,
        sequence=_whole(said, "sequence", 0, 0, INT64 - 1),
        instruction=instruction,
        plan=_text(said["plan"], "chunk.plan"),
        terminate=said["terminate"],
        frozen_rows=_whole(said, "frozen_rows", 0, 0, MAX_ROWS),
        continues=None if continues is None else _whole(said, "continues", 0, 0, INT64 - 1),
        model_actions=None
        if said["model_actions"] is None
        else rows_of(said["model_actions"], "chunk.model_actions", None),
    )


def rows_of(value: Any, where: str, width: int | None) -> Array:
    """float64[rows, width]; width None: any. Raises ValueError; wire.decode checked finiteness."""
    if (
        not isinstance(value, np.ndarray)
        or value.dtype.kind != "f"
        or value.ndim != 2
        or not 0 < len(value) <= MAX_ROWS
        or (width is not None and value.shape[1] != width)
    ):
        got = (
            f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else _short(value)
        )
        raise ValueError(f"{where}: got {got}, expected float[1 .. {MAX_ROWS}, {width or 'any'}]")
    return value.astype(np.float64)


def _numbers(values: list[Any]) -> Any:
    return np.array(values, np.float64) if all(_is_number(v) for v in values) else values


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _deadline(value: Any) -> float | None:
    if value is None:
        return None
    if not _is_number(value) or not 0.0 < value <= MAX_DEADLINE_S:
        raise ValueError(
            f"{OWN}.deadline_s: got {_short(value)}, expected above 0 to {MAX_DEADLINE_S:g}"
        )
    return float(value)


def _whole(said: Mapping[str, Any], key: str, default: int, low: int, high: int) -> int:
    value = said.get(key, default)
    if type(value) is not int or not low <= value <= high:
        raise ValueError(
            f"{key}: got {_short(value)}, expected a whole number from {low} to {high}"
        )
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or len(value) > 4000:
        raise ValueError(
            f"{where}: got {_short(value)}, expected a text of at most 4000 characters"
        )
    return value


def _short(value: Any) -> str:
    return one_line(repr(value)[:400], 80)
