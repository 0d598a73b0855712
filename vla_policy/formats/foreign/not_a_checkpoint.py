"""Folders that are no checkpoint but contain or produce one, and the user's next step."""

from __future__ import annotations

from pathlib import Path

from vla_policy.parsing.json_document import INDEX, WEIGHTS, read_json

PRETRAINED, CHECKPOINTS, LAST = "pretrained_model", "checkpoints", "last"
ADAPTER, PARAMS = "adapter_config.json", "params"
BASE = "base.json"  # beside an adapter that this project trained
# Files of an orbax checkpoint; every version writes one of them.
ORBAX = ("_METADATA", "manifest.ocdbt", "_sharding", "checkpoint")
# Type in config.json -> module and class of lerobot.
POLICIES = {
    "pi0": ("pi0.modeling_pi0", "PI0Policy"),
    "pi05": ("pi05.modeling_pi05", "PI05Policy"),
    "smolvla": ("smolvla.modeling_smolvla", "SmolVLAPolicy"),
}


def require_checkpoint(folder: Path) -> None:
    """Raises ValueError, one sentence with the next step, if folder is something else."""
    for sentence in (_adapter(folder), _jax(folder), _training_output(folder)):
        if sentence is not None:
            raise ValueError(f"{folder}: {sentence}")


def _adapter(folder: Path) -> str | None:
    if not (folder / ADAPTER).is_file():
        return None
    base = read_json(folder / ADAPTER).get("base_model_name_or_path") or "BASE"
    if (folder / BASE).is_file():
        return (
            f"an adapter of {base}, not a whole checkpoint; name the two together: {base}+{folder}"
        )
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    module, policy = POLICIES.get(str(config.get("type")), POLICIES["pi05"])
    return (
        f"a LoRA adapter of {base}, not a whole checkpoint; merge the two where lerobot and peft are installed, copy "
        "the policy_* files from here beside the result, and give that folder: python -c "
        f'"from peft import PeftModel; from lerobot.policies.{module} import {policy} as P; '
        f"PeftModel.from_pretrained(P.from_pretrained('{base}'), '{folder}').merge_and_unload()"
        ".save_pretrained('merged')\""
    )


def _jax(folder: Path) -> str | None:
    if _is_orbax(folder):
        whole = folder.parent if folder.name == PARAMS else folder
    elif _is_orbax(folder / PARAMS) and not _has_weights(folder):
        whole = folder
    else:
        steps = [p for p in _numbered(folder) if _is_orbax(p / PARAMS)]
        return f"a training output of openpi; give its newest step: {steps[-1]}" if steps else None
    return (
        "weights of openpi's JAX training, which are not read; convert them where openpi is installed and give the "
        f"result: python examples/convert_jax_model_to_pytorch.py --checkpoint_dir {whole} "
        "--config_name <the training config's name> --output_path <a new folder>"
    )


def _training_output(folder: Path) -> str | None:
    if (folder / "config.json").is_file() or _has_weights(folder):
        return None
    within = folder / CHECKPOINTS if (folder / CHECKPOINTS).is_dir() else folder
    for place in (folder, within / LAST, *reversed(_numbered(within))):
        if (place / PRETRAINED).is_dir():
            return (
                f"a training output of lerobot; the checkpoint is in it: give {place / PRETRAINED}"
            )
    return None


def _is_orbax(folder: Path) -> bool:
    return any((folder / name).exists() for name in ORBAX) and not _has_weights(folder)


def _has_weights(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()


def _numbered(folder: Path) -> list[Path]:
    """Sub-folders whose names are numbers, the smallest first."""
    found = [p for p in folder.glob("*") if p.name.isdecimal() and p.is_dir()]
    return sorted(found, key=lambda p: int(p.name))
