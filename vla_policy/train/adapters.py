"""Low-rank adapters by peft: applied to a base for training, saved separately.

The family's Training.adapters names their layers; other trained parts, such as the projections of
state and actions, are parts by name. Reading and merging: formats/adapter.py.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.formats.adapter import CONFIG, START, WEIGHTS, fingerprint, write_base
from vla_policy.formats.native.language import write_said
from vla_policy.parsing.json_document import read_json, write_json
from vla_policy.train.adapter_options import AdapterOptions
from vla_policy.train.optimiser import part_of
from vla_policy.types import required

NAME = "default"  # peft's name of the only adapter


@dataclass(frozen=True, slots=True)
class Laid:
    """An adapter applied to the network of a checkpoint.

    base: its loaded name; of it: fingerprint.
    layers: linear layers with an adapter. whole: parameters that are trained in full.
    """

    checkpoint: Checkpoint
    options: AdapterOptions
    base: str
    fingerprint: str
    layers: tuple[str, ...]
    whole: tuple[str, ...]


def reached(checkpoint: Checkpoint, options: AdapterOptions) -> tuple[str, ...]:
    """The linear layers that match the expressions; each expression must match at least one."""
    training = FAMILIES[checkpoint.family].training
    if training is None:
        raise ValueError(f"adapter: a {checkpoint.family} policy cannot be trained")
    linear = [n for n, m in checkpoint.model.named_modules() if isinstance(m, nn.Linear)]
    expressions = options.targets or training.adapters
    for expression in expressions:
        if not any(re.fullmatch(expression, name) for name in linear):
            raise ValueError(f"targets: {expression!r} reaches no linear layer of this network")
    return tuple(name for name in linear if any(re.fullmatch(e, name) for e in expressions))


def lay(checkpoint: Checkpoint, base: str, options: AdapterOptions) -> Laid:
    """Apply the adapter, in place; then only it and the parts trained in full have gradients.

    The policy is unchanged at first: B is 0. Raises ValueError for unknown layers or parts.
    """
    from peft import LoraConfig, inject_adapter_in_model  # takes seconds to import

    model: nn.Module = checkpoint.model
    layers, print_of_base = reached(checkpoint, options), fingerprint(model)
    whole = tuple(_whole(checkpoint, options))
    config = LoraConfig(
        r=options.rank,
        lora_alpha=options.strength,
        lora_dropout=options.dropout,
        target_modules=list(layers),
    )
    inject_adapter_in_model(config, model, NAME)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".lora_" in name or name in whole)
    return Laid(checkpoint, options, base, print_of_base, layers, whole)


def halve_base(laid: Laid) -> None:
    """Keep the frozen weights of linear layers in bfloat16, in place.

    Half the memory and, where the family allows it, the same numbers: they are cast to it anyway under
    bfloat16 autocast.
    """
    for module in laid.checkpoint.model.modules():
        if isinstance(module, nn.Linear) and not any(p.requires_grad for p in module.parameters()):
            module.to(torch.bfloat16)


def tensors(laid: Laid) -> dict[str, Tensor]:
    """The trained tensors, by peft's names in a file."""
    found = {}
    for name, parameter in laid.checkpoint.model.named_parameters():
        if f".{NAME}." in name and ".lora_" in name:
            found[START + name.replace(f".{NAME}.", ".")] = parameter.detach()
        elif name in laid.whole:
            found[START + name] = parameter.detach()
    return found


def save(folder: Path, laid: Laid) -> None:
    """Write only the adapter; an existing folder is replaced file by file, the weights last."""
    from peft import LoraConfig

    folder.mkdir(parents=True, exist_ok=True)
    LoraConfig(
        r=laid.options.rank,
        lora_alpha=laid.options.strength,
        lora_dropout=laid.options.dropout,
        target_modules=list(laid.layers),
        modules_to_save=sorted({name.rpartition(".")[0] for name in laid.whole}) or None,
        base_model_name_or_path=laid.base,
    ).save_pretrained(folder)
    config = read_json(folder / CONFIG)
    write_json(folder / CONFIG, config | {"target_modules": sorted(laid.layers)})
    write_base(folder, laid.base, laid.fingerprint)
    write_said(folder, (replace(laid.checkpoint, naming=None),))
    part = folder / f"{WEIGHTS}.part"
    save_file({k: v.cpu().contiguous() for k, v in tensors(laid).items()}, part)
    os.replace(part, folder / WEIGHTS)


@torch.no_grad()
def merged(laid: Laid) -> Checkpoint:
    """A checkpoint with its own network and the adapter merged; the trained one is unchanged."""
    checkpoint = laid.checkpoint
    network = FAMILIES[checkpoint.family].network(checkpoint.model.config)
    values: dict[str, Tensor] = {}
    for name, value in checkpoint.model.state_dict().items():
        if ".lora_" not in name:
            values[name.replace(".base_layer.", ".")] = value
    for layer in laid.layers:
        covered = checkpoint.model.get_submodule(layer)
        step = covered.lora_B[NAME].weight @ covered.lora_A[NAME].weight
        values[f"{layer}.weight"] = values[f"{layer}.weight"] + laid.options.scale * step
    network.load_state_dict(values)
    return replace(checkpoint, model=network)


@torch.no_grad()
def take_up(laid: Laid) -> None:
    """Merge the adapter into the weights and remove it, in place: the network is plain again."""
    for name in laid.layers:
        owner_name, _, leaf = name.rpartition(".")
        owner = laid.checkpoint.model.get_submodule(owner_name)
        covered = getattr(owner, leaf)
        covered.merge(safe_merge=True)
        setattr(owner, leaf, covered.get_base_layer())
    vars(laid.checkpoint.model).pop("peft_config", None)  # peft's mark of a model with adapters


def _whole(checkpoint: Checkpoint, options: AdapterOptions) -> Iterator[str]:
    training = required(FAMILIES[checkpoint.family].training, f"{checkpoint.family}: training")
    parts = training.parts
    usual = tuple(part for part in ("projections",) if part in parts)
    wanted = usual if options.whole is None else options.whole
    for part in wanted:
        if part not in parts:
            raise ValueError(f"whole: got {part!r}, expected some of {', '.join(parts)}")
    names = (name for name, _ in checkpoint.model.named_parameters())
    yield from (name for name in names if part_of(name, parts) in wanted)
