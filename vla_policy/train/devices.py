"""Devices and processes of a run: Accelerate, with this project's settings."""

from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs

from vla_policy.train.run import Run

# Parts may be frozen, and a batch may have no questions: then some parameters get no gradient.
UNUSED = DistributedDataParallelKwargs(find_unused_parameters=True)
PRECISION = {"float32": "no", "bfloat16": "bf16"}


def devices_of(run: Run) -> Any:
    """An Accelerator.

    Raises ValueError if micro-batches do not divide evenly over the processes.
    """
    # Its state is global in the process; an earlier run may have had another precision.
    AcceleratorState._reset_state()
    devices = Accelerator(
        mixed_precision=PRECISION[run.precision],
        cpu=run.device == "cpu",
        kwargs_handlers=[UNUSED],
    )
    if run.micro_batches % devices.num_processes:
        raise ValueError(
            f"micro_batch: got {run.micro_batches} micro-batches in a step, expected a multiple of the "
            f"{devices.num_processes} processes; with batch {run.batch} at most {run.batch // devices.num_processes}"
        )
    return devices
