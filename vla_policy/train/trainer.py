"""The training loop for any family: step, log, checkpoint, and exact resuming."""

from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import torch

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.training import Training
from vla_policy.train.adapters import halve_base, lay
from vla_policy.train.batches import Batch, Batches
from vla_policy.train.checkpoints import (
    Learner,
    drop_later,
    go_on,
    require_base,
    save_checkpoint,
    with_own_tokenizer,
)
from vla_policy.train.curves import write_curves
from vla_policy.train.devices import devices_of
from vla_policy.train.ema import Mean
from vla_policy.train.held_out import held_out_loss
from vla_policy.train.log import add_line, board, cut_log, read_log
from vla_policy.train.meter import Meter
from vla_policy.train.optimiser import adamw, freeze, rate_at, set_rate
from vla_policy.train.progress import progress
from vla_policy.train.recompute import recompute_layers
from vla_policy.train.run import METRIC, Run
from vla_policy.train.run_folder import open_folder
from vla_policy.train.sharding import Shards, gathered, shard
from vla_policy.train.step import LossOf, Sums, clip, gradient, not_finite
from vla_policy.train.stop import asked_to_stop


@dataclass(frozen=True, slots=True)
class Work:
    """Input of a run.

    held_out: micro-batches that only measure. others: the network for other robots.
    """

    checkpoint: Checkpoint
    training: Training
    batches: Batches
    held_out: tuple[Batch, ...] = ()
    others: tuple[Checkpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """step: steps done, all saved. stopped: by a signal, before the last step.

    leads: this process reports for all.
    """

    step: int
    stopped: bool
    leads: bool = True


def train(run: Run, work: Work, *, shown: bool = True) -> TrainingResult:
    """Train to the last step or until a signal, with all files in the folder run.out.

    A second call resumes from the newest checkpoint and gives the same result as one call.
    Raises NotFinite, which names step and samples; DiskFull; ValueError for the folder of another run.
    """
    devices = devices_of(run)
    out = Path(run.out)
    with open_folder(out, run) if devices.is_main_process else nullcontext():
        devices.wait_for_everyone()
        with asked_to_stop() as stop:
            return _train(run, work, out, devices, stop, shown and devices.is_main_process)


def _train(
    run: Run, work: Work, out: Path, devices: Any, stop: Event, shown: bool
) -> TrainingResult:
    loss_of, learner = _prepare(run, work, devices)
    step = go_on(out, learner)
    devices.wait_for_everyone()
    shards = None
    if run.shard and devices.num_processes > 1:
        shards = shard(loss_of, learner, run, work.training.parts, devices.device)
        learner = shards.learner
    else:
        loss_of = devices.prepare(loss_of)
    if devices.is_main_process:
        if learner.laid is not None:
            require_base(out, run.policy, learner.laid.fingerprint)
        learner.checkpoint = with_own_tokenizer(out, learner.checkpoint)
        drop_later(out, step, learner)
        cut_log(out, step)
    first = step * run.micro_batches + devices.process_index
    stream = work.batches.batches(first, devices.num_processes)
    meter, sums = Meter(run.batch, work.batches, step), Sums()
    asked = False
    writer = board(out, step) if devices.is_main_process else nullcontext()
    with writer as shown_too, closing(stream), progress(run.steps, step, shown=shown) as tell:  # type: ignore[type-var]
        while step < run.steps and not asked:
            rate = run.optimiser.learning_rate * rate_at(step, run.steps, run.schedule)
            set_rate(learner.optimiser, rate)
            learner.optimiser.zero_grad(set_to_none=True)
            samples = gradient(loss_of, stream, step, run, devices, sums)
            norm = clip(learner.parameters.values(), run.optimiser.clip)
            if not norm < float("inf"):
                raise not_finite("gradient", step, sums.means(), samples)
            learner.optimiser.step()
            step += 1
            if learner.mean is not None:
                learner.mean.update(step)
            asked = _anyone(stop, devices)
            last = step == run.steps or asked
            line: dict[str, Any] = {}
            if step % run.checkpoints.every == 0 or last:
                line |= _save(run, work, out, devices, loss_of, learner, step, shards)
            if step % run.log_every == 0 or line or last:
                line = {"step": step, **sums.means(), "rate": rate, "gradient": norm, **line}
                line |= meter.read(step)
                sums = Sums()
                if devices.is_main_process:
                    add_line(out, line, shown_too)
            tell(step, line)
    if devices.is_main_process:
        write_curves(out, read_log(out))
    devices.wait_for_everyone()
    return TrainingResult(step, asked and step < run.steps, devices.is_main_process)


def _prepare(run: Run, work: Work, devices: Any) -> tuple[Any, Learner]:
    model = work.checkpoint.model
    if wrong := {p.dtype for p in model.parameters() if p.dtype != torch.float32}:
        raise ValueError(f"policy: got weights in {min(map(str, wrong))}, expected torch.float32")
    freeze(model, run, work.training.parts)
    laid = None
    if run.adapter is not None:
        torch.manual_seed(run.seed)  # for the initial A
        laid = lay(work.checkpoint, run.policy, run.adapter)
        if work.training.half_base and run.precision == "bfloat16" and not run.adapter.merge:
            halve_base(laid)
    if run.gradient_checkpointing:
        recompute_layers(model)
    divided = run.shard and devices.num_processes > 1  # then each process takes its share alone
    model.to("cpu" if divided else devices.device).train()
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = adamw(parameters, run.optimiser, work.training.parts)
    loss_of = LossOf(work.checkpoint, work.training, run.loss)
    mean = None if run.ema is None else Mean(parameters, run.ema)
    learner = Learner(work.checkpoint, parameters, optimiser, mean, laid=laid, others=work.others)
    return loss_of, learner


def _save(
    run: Run, work: Work, out: Path, devices: Any, loss_of: Any, learner: Learner, step: int,
    shards: Shards | None,
) -> dict[str, float]:  # fmt: skip
    """Write a checkpoint; returns its measurements."""
    measured = {}
    if work.held_out:
        with learner.mean.in_place() if learner.mean is not None else nullcontext():
            measured[METRIC] = held_out_loss(loss_of, work.held_out, run, devices)
        learner.measured[step] = measured[METRIC]
    whole: Learner | None = learner
    if shards is not None:
        whole = gathered(shards, run, work.training.parts, leads=devices.is_main_process)
    if devices.is_main_process and whole is not None:
        save_checkpoint(out, whole, step, run)
        write_curves(out, read_log(out))
    devices.wait_for_everyone()
    return measured


def _anyone(stop: Event, devices: Any) -> bool:
    """Whether any process received a stop signal, so that all end after the same step."""
    if devices.num_processes == 1:
        return stop.is_set()
    asked = torch.tensor(float(stop.is_set()), device=devices.device)
    return float(devices.reduce(asked, "sum")) > 0
