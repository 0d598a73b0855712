"""Adapters that need no training: a parameter of the base learned whole, with an effect that is easily told."""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from vla_policy.formats.adapter import CONFIG, START, WEIGHTS, fingerprint, write_base
from vla_policy.parsing.json_document import write_json
from vla_policy.policy import load_local

TURN = 6  # the column drz of a tiny policy: terminate, dx dy dz, drx dry drz, gripper


def turning(folder: Path, base: str, by: float) -> Path:
    """An adapter of a tiny policy that acts as its base and turns the tool on the way: by, in units of 0.1 rad a row."""
    model = load_local(base, head="flow").checkpoint.model
    bias = model.flow.action_out_proj.bias.detach().clone()
    bias[TURN] -= by  # velocity from noise to data, against time
    return _written(folder, base, fingerprint(model), {"flow.action_out_proj.bias": bias})


def turned(quaternions: np.ndarray) -> np.ndarray:
    """float64[n - 1]: how far each of float64[n, 4], xyzw, is turned about z against the one before, rad."""
    x, y, z, w = quaternions[1:].T
    ox, oy, oz, ow = (quaternions[:-1] * [-1, -1, -1, 1]).T
    real = w * ow - x * ox - y * oy - z * oz
    found: np.ndarray = 2 * np.sign(real) * (w * oz + x * oy - y * ox + z * ow)
    return found


def sideways(folder: Path, base: str, towards: float) -> Path:
    """An adapter of a tiny policy that always moves one way: towards 1 or -1."""
    model = load_local(base, head="flow").checkpoint.model
    weight, bias = (
        torch.zeros_like(model.flow.action_out_proj.weight),
        torch.zeros_like(model.flow.action_out_proj.bias),
    )
    bias[1] = -8.0 * towards  # velocity from noise to data, against time
    tensors = {"flow.action_out_proj.weight": weight, "flow.action_out_proj.bias": bias}
    return _written(folder, base, fingerprint(model), tensors)


def _written(
    folder: Path, base: str, print_of_base: str, tensors: dict[str, torch.Tensor]
) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / CONFIG, {"peft_type": "LORA", "r": 1, "lora_alpha": 1})
    write_base(folder, base, print_of_base)
    save_file({START + name: value for name, value in tensors.items()}, folder / WEIGHTS)
    return folder
