"""Results on disk: a checkpoint for load_policy, and the state to resume from."""

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.data.lerobot.durable import replace_file
from vla_policy.families.training import as_trained
from vla_policy.formats.adapter import BASE, write_base
from vla_policy.formats.native.folder import save
from vla_policy.models.text import TextTokenizer
from vla_policy.parsing.json_document import read_json, require
from vla_policy.train import adapters
from vla_policy.train.adapters import Laid, merged
from vla_policy.train.ema import Mean
from vla_policy.train.run import Run
from vla_policy.train.run_folder import (
    CHECKPOINTS,
    STATE,
    folder_of,
    point_at,
    remove,
    steps_in,
    to_keep,
    write_whole,
)
from vla_policy.train.state import RunFacts, read_facts, read_state, write_state


@dataclass(slots=True)
class Learner:
    """State of a running run.

    parameters: the trained ones, by name. measured: step -> held-out loss.
    laid: the adapter that is trained; None: the network itself is.
    others: the same network for other robots.
    """

    checkpoint: Checkpoint
    parameters: dict[str, nn.Parameter]
    optimiser: torch.optim.Optimizer
    mean: Mean | None
    measured: dict[int, float] = field(default_factory=dict)
    laid: Laid | None = None
    others: tuple[Checkpoint, ...] = ()


def save_checkpoint(out: Path, learner: Learner, step: int, run: Run) -> None:
    """Write checkpoint, link and state, in this order; then delete old ones. Raises DiskFull."""
    as_trained(learner.checkpoint, run.loss)
    with learner.mean.in_place() if learner.mean is not None else nullcontext():
        write_whole(folder_of(out, CHECKPOINTS, step), lambda folder: _write(folder, learner))
    kept = to_keep(steps_in(out, CHECKPOINTS), learner.measured, run.checkpoints.keep)
    point_at(out, best_of(kept, learner.measured))
    facts = RunFacts(step, learner.measured)
    mean = None if learner.mean is None else learner.mean.values
    write_whole(
        folder_of(out, STATE, step),
        lambda folder: write_state(folder, facts, learner.parameters, learner.optimiser, mean),
    )
    remove(folder_of(out, STATE, s) for s in steps_in(out, STATE) if s != step)
    remove(folder_of(out, CHECKPOINTS, s) for s in steps_in(out, CHECKPOINTS) if s not in kept)


def _write(folder: Path, learner: Learner) -> None:
    laid = learner.laid
    if laid is None:
        save(folder, replace(learner.checkpoint, engine=None), *learner.others)
    elif laid.options.merge:
        save(folder, merged(laid))
    else:
        adapters.save(folder, laid)


def require_base(out: Path, name: str, fingerprint: str) -> None:
    """Note the base of the run's adapter in out at first. Raises ValueError for another base."""
    if not (out / BASE).is_file():
        write_base(out, name, fingerprint)
        return
    said = read_json(out / BASE)
    before = require(said, "fingerprint", str, out / BASE)
    if before != fingerprint:
        raise ValueError(
            f"policy: got {name!r} ({fingerprint[:12]}), expected the base that the adapter in {out} was begun on ({before[:12]})"
        )


def with_own_tokenizer(out: Path, checkpoint: Checkpoint) -> Checkpoint:
    """checkpoint with the tokenizer file in out: its original folder may be deleted."""
    tokenizer = checkpoint.tokenizer
    if not isinstance(tokenizer, TextTokenizer):
        return checkpoint
    own = out / f"tokenizer{tokenizer.source.suffix}"
    if not own.is_file():
        replace_file(own, tokenizer.source.read_bytes())
    return replace(checkpoint, tokenizer=replace(tokenizer, source=own))


def newest(out: Path) -> Path | None:
    """The checkpoint to resume from; None without one."""
    states = steps_in(out, STATE)
    return folder_of(out, CHECKPOINTS, states[-1]) if states else None


def go_on(out: Path, learner: Learner) -> int:
    """Load the newest state; returns its steps, 0 without one. Later checkpoints are deleted."""
    states = steps_in(out, STATE)
    if not states:
        return 0
    folder = folder_of(out, STATE, states[-1])
    facts = read_facts(folder)
    mean = None if learner.mean is None else learner.mean.values
    read_state(folder, learner.parameters, learner.optimiser, mean)
    learner.measured = dict(facts.measured)
    return facts.step


def drop_later(out: Path, step: int, learner: Learner) -> None:
    """Delete checkpoints after step, written before their state was complete; the link first."""
    there = steps_in(out, CHECKPOINTS)
    if later := [s for s in there if s > step]:
        if kept := [s for s in there if s <= step]:
            point_at(out, best_of(kept, learner.measured))
        remove(folder_of(out, CHECKPOINTS, s) for s in later)


def best_of(steps: Iterable[int], measured: dict[int, float]) -> int:
    """The step with the lowest held-out loss; the newest if none was measured."""
    there = list(steps)
    ranked = [s for s in there if s in measured]
    return min(ranked, key=lambda s: (measured[s], -s)) if ranked else max(there)
