"""OpenVLA's protocol: POST /act with JSON, arrays as base64 in it; client and server side.

    {"image": array, "instruction": "pick up the cup", "unnorm_key": "bridge_orig"}  ->  array float64[7]

An array is {"__numpy__": base64, "dtype": "|u1", "shape": [256, 256, 3]}. A request sent as
{"encoded": "<JSON>"} gets its reply in the same form. The statistics are the policy's own: an
unnorm_key is accepted and has no effect here. Policies with more cameras read the others under
their names, and those that use a state read it as state.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from vla_policy.checkpoint.contract import Contract
from vla_policy.parsing.strict_json import parse_json
from vla_policy.remote import wire
from vla_policy.remote.messages import PROMPT, STATE, Asked, camera_key, read_request
from vla_policy.types import ActionChunk, Array

TAG, WRAPPED = "__numpy__", "encoded"
WHERE = "request"


def read_act(body: bytes, contract: Contract, *, looks_at_state: bool) -> tuple[Asked, bool]:
    """A request, and whether its reply is wrapped as text. Raises ValueError, one sentence.

    looks_at_state: whether the policy uses the state; OpenVLA's does not, and its clients send
    none.
    """
    said = parse_json(body, WHERE)
    wrapped = isinstance(said, dict) and set(said) == {WRAPPED}
    if wrapped:
        text = said[WRAPPED]
        if not isinstance(text, str):
            raise ValueError(
                f"{WHERE}.{WRAPPED}: got {type(text).__name__}, expected JSON in a text"
            )
        said = parse_json(text.encode(), WHERE)
    if not isinstance(said, dict):
        raise ValueError(f"{WHERE}: got {type(said).__name__}, expected image and instruction")
    message: dict[str, Any] = {PROMPT: said.get("instruction", "")}
    first = contract.camera_names[0]
    for name in contract.camera_names:
        value = said.get(name, said.get("image") if name == first else None)
        if value is not None:
            message[camera_key(name)] = read_array(value, f"{WHERE}.{name}")
    if "state" in said:
        state = said["state"]
        message[STATE] = read_array(state, f"{WHERE}.state") if isinstance(state, dict) else state
    elif not looks_at_state:
        message[STATE] = np.zeros(len(contract.state_names))
    return read_request(message, contract), wrapped


def write_act(chunk: ActionChunk, wrapped: bool) -> bytes:
    """The reply: the row of a policy that predicts one step, else all rows."""
    actions = chunk.actions[0] if len(chunk.actions) == 1 else chunk.actions
    text = json.dumps(write_array(actions))
    return (json.dumps(text) if wrapped else text).encode()


def write_array(array: Array) -> dict[str, Any]:
    """An array in json-numpy's form."""
    data = base64.b64encode(np.ascontiguousarray(array)).decode()
    return {TAG: data, "dtype": array.dtype.str, "shape": list(array.shape)}


def read_array(value: Any, where: str) -> Array:
    """Inverse of write_array. Raises ValueError that begins with where."""
    if not isinstance(value, Mapping) or not isinstance(value.get(TAG), str):
        raise ValueError(f"{where}: got {type(value).__name__}, expected an array with {TAG}")
    try:
        data = base64.b64decode(value[TAG], validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{where}: not base64: {error}") from error
    try:
        return wire.array_of(data, value.get("dtype"), value.get("shape"))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
