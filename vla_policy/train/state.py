"""The state beside a run's newest checkpoint that lets it resume exactly."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from vla_policy.formats.tensors.safetensors_file import read, read_header, tensor_bytes, write
from vla_policy.parsing.json_document import read_json, require

TENSORS, FACTS = "training.safetensors", "state.json"


@dataclass(frozen=True, slots=True)
class RunFacts:
    """step: steps done. measured: step -> held-out loss of its checkpoint."""

    step: int
    measured: Mapping[int, float]


def write_state(
    folder: Path,
    facts: RunFacts,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    mean: Mapping[str, Tensor] | None,
) -> None:
    """parameters: the trained ones, by name.

    mean: of them, if any. Random numbers follow from the step.
    """
    tensors: dict[str, Tensor] = {f"weight.{name}": p for name, p in parameters.items()}
    tensors |= {f"mean.{name}": value for name, value in (mean or {}).items()}
    for name, p in parameters.items():
        tensors |= {f"{slot}.{name}": value for slot, value in optimiser.state[p].items()}
    write(
        folder / TENSORS,
        {name: (value.dtype, tuple(value.shape)) for name, value in tensors.items()},
        (tensor_bytes(value) for value in tensors.values()),
    )
    measured = {str(step): value for step, value in facts.measured.items()}
    (folder / FACTS).write_text(json.dumps({"step": facts.step, "measured": measured}) + "\n")


def read_facts(folder: Path) -> RunFacts:
    """Raises ValueError or FileNotFoundError in one sentence."""
    path = folder / FACTS
    data = read_json(path)
    measured = require(data, "measured", dict, path)
    return RunFacts(
        require(data, "step", int, path), {int(k): float(v) for k, v in measured.items()}
    )


def read_state(
    folder: Path,
    parameters: Mapping[str, nn.Parameter],
    optimiser: torch.optim.Optimizer,
    mean: Mapping[str, Tensor] | None,
) -> None:
    """Load a state in place. Raises ValueError if it is of other parameters."""
    entries, _ = read_header(folder / TENSORS)
    wanted = {f"weight.{name}" for name in parameters} | {f"mean.{name}" for name in mean or {}}
    found = {name for name in entries if name.startswith(("weight.", "mean."))}
    if wanted != found:
        name = min(wanted ^ found)
        raise ValueError(
            f"{folder / TENSORS}: {name}: {'missing' if name in wanted else 'unknown'}; "
            "the state of another network or of another choice of what is trained"
        )
    slots = {name.partition(".")[0] for name in entries} - {"weight", "mean"}
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(read(entries[f"weight.{name}"]))
            if mean is not None:
                mean[name].copy_(read(entries[f"mean.{name}"]))
            kept = {s: read(entries[f"{s}.{name}"]) for s in slots if f"{s}.{name}" in entries}
            # The step count stays on the CPU, as in AdamW; moments are on the parameter's device.
            optimiser.state[p] = {
                slot: value if value.ndim == 0 and p.ndim else value.to(p.device)
                for slot, value in kept.items()
            }
