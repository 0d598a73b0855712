"""Adapters that need no training: a parameter of the base learned whole, with an effect that is easily told."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from vla_policy.formats.adapter import CONFIG, START, WEIGHTS, fingerprint, write_base
from vla_policy.parsing.json_document import write_json
from vla_policy.policy import load_local


def sideways(folder: Path, base: str, towards: float) -> Path:
    """An adapter of a tiny policy that always moves one way: towards 1 or -1."""
    model = load_local(base, head="flow").checkpoint.model
    weight, bias = (
        torch.zeros_like(model.flow.action_out_proj.weight),
        torch.zeros_like(model.flow.action_out_proj.bias),
    )
    bias[1] = -8.0 * towards  # velocity from noise to data, against time
    folder.mkdir(parents=True)
    write_json(folder / CONFIG, {"peft_type": "LORA", "r": 1, "lora_alpha": 1})
    write_base(folder, base, fingerprint(model))
    tensors = {"flow.action_out_proj.weight": weight, "flow.action_out_proj.bias": bias}
    save_file({START + name: value for name, value in tensors.items()}, folder / WEIGHTS)
    return folder
