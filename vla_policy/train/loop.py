"""The training loop: schedule, progress, and a run folder that a stopped run resumes from."""

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """steps: in all, over resumed runs. save_every: steps between resumable states."""

    steps: int
    learning_rate: float
    weight_decay: float = 0.01
    warmup: int = 100
    clip: float = 1.0
    save_every: int = 500
    log_every: int = 50


def run(
    name: str,
    model: nn.Module,
    loss_of: Callable[[int], tuple[Tensor, dict[str, float]]],
    settings: LoopSettings,
    folder: Path,
    *,
    evaluate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train the parameters of model that require a gradient; loss_of(step) gives the loss of one batch.

    Writes folder/name.{safetensors,json} as it goes and folder/name.log.jsonl; a second call continues.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {k: p for k, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.AdamW(
        parameters.values(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.99),
    )
    step = _resume(folder / name, parameters, optimiser)
    log = (folder / f"{name}.log.jsonl").open("a")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    model.train()
    mean: dict[str, float] = {}
    started = time.monotonic()
    with log, Progress(*columns, refresh_per_second=1) as progress:
        bar = progress.add_task(name, total=settings.steps, completed=step)
        while step < settings.steps:
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * cosine(
                    step, settings.steps, settings.warmup
                )
            loss, parts = loss_of(step)
            if not torch.isfinite(loss):
                raise RuntimeError(f"{name}: the loss of step {step} is not finite: {parts}")
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters.values(), settings.clip)
            optimiser.step()
            step += 1
            for key, value in parts.items():
                mean[key] = 0.98 * mean.get(key, value) + 0.02 * value
            progress.update(bar, completed=step, description=f"{name} " + _words(mean))
            last = step == settings.steps
            if step % settings.log_every == 0 or last:
                record = {"step": step, "seconds": round(time.monotonic() - started, 1), **mean}
                if evaluate is not None and (step % settings.save_every == 0 or last):
                    model.eval()
                    record |= evaluate()
                    model.train()
                log.write(json.dumps(record) + "\n")
                log.flush()
            if step % settings.save_every == 0 or last:
                _save(folder / name, step, parameters, optimiser)
    model.eval()


def _words(values: dict[str, float]) -> str:
    return " ".join(f"{k} {v:.3f}" for k, v in values.items())


def _save(
    stem: Path, step: int, parameters: Mapping[str, Tensor], optimiser: torch.optim.Optimizer
) -> None:
    tensors = {f"weight.{k}": p.detach() for k, p in parameters.items()}
    for key, p in parameters.items():
        tensors |= {f"{slot}.{key}": v.clone() for slot, v in optimiser.state[p].items()}
    temporary = stem.with_suffix(".part")
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, temporary, metadata={"step": str(step)}
    )
    temporary.replace(stem.with_suffix(".safetensors"))
    stem.with_suffix(".json").write_text(json.dumps({"step": step}) + "\n")


def _resume(stem: Path, parameters: Mapping[str, Tensor], optimiser: torch.optim.Optimizer) -> int:
    if not stem.with_suffix(".json").is_file():
        return 0
    tensors = load_file(stem.with_suffix(".safetensors"))
    if missing := [k for k in parameters if f"weight.{k}" not in tensors]:
        raise ValueError(
            f"{stem}.safetensors is of another model: it lacks {missing[0]}; choose another --out"
        )
    with torch.no_grad():
        for key, p in parameters.items():
            p.copy_(tensors[f"weight.{key}"])
            optimiser.state[p] = {
                slot: tensors[f"{slot}.{key}"]
                for slot in ("step", "exp_avg", "exp_avg_sq")
                if f"{slot}.{key}" in tensors
            }
    step: int = json.loads(stem.with_suffix(".json").read_text())["step"]
    return step


def total(parts: Iterable[Tensor]) -> Tensor:
    """Their sum, in their order; 0 of none."""
    return sum(parts, torch.zeros(()))


def cosine(step: int, steps: int, warmup: int) -> float:
    """Factor in (0, 1]: linear warm-up, then half a cosine down to 1 % at the last step."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
