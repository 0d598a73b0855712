"""Micro-batches from worker processes: the same ones in the same order for any number of workers.

Each worker makes whole micro-batches, every one a pure function of its number; torch's DataLoader
yields them in order and holds at most `prefetch` per worker. An error in a sample is returned as a
value and raised here, as one sentence that names the sample. A worker that is killed ends the run,
Ctrl-C ends the workers.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, TypeAlias

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from vla_policy.parsing.files import one_line
from vla_policy.train.batches import Batch
from vla_policy.train.mixture import Mixture, Sample

PREFETCH = 2  # micro-batches that a worker makes ahead
SEED = "seed"  # int64[b] of a batch: seeds of the loss's draws for each sample

MakeExample: TypeAlias = Callable[[Sample], dict[str, Tensor]]
Collate: TypeAlias = Callable[[Sequence[dict[str, Tensor]]], dict[str, Tensor]]


class BadSample(ValueError):
    """A sample that cannot be used; the message names it and the reason."""


class WorkerLost(RuntimeError):
    """A worker process ended unexpectedly."""


@dataclass(frozen=True, slots=True)
class _Failed:
    """The reason why a micro-batch could not be made."""

    says: str


@dataclass(frozen=True)
class _MicroBatches(Dataset["Batch | _Failed"]):
    """Micro-batch by its number; pickled to each worker."""

    mixture: Mixture
    make_example: MakeExample
    collate: Collate
    batch: int

    def __getitem__(self, number: int) -> Batch | _Failed:
        examples, samples, seeds = [], [], []
        for place in range(number * self.batch, (number + 1) * self.batch):
            try:
                sample = self.mixture.sample(place)
                example = self.make_example(sample)
            except (ValueError, OSError, LookupError, ArithmeticError, RuntimeError) as error:
                return _Failed(_sentence(self.mixture.where(place), error))
            examples.append(example)
            samples.append(sample.where)
            seeds.append(sample.seed)
        return Batch(self.collate(examples) | {SEED: torch.tensor(seeds)}, tuple(samples))


class Loader:
    """mixture: the samples.

    make_example: Sample -> tensors, in a worker. collate: several -> a batch.
    batch: samples of a micro-batch. workers: processes; 0: made in this process, on demand. All
    three are pickled to the workers. waited_s: how long the caller has waited, without the
    workers' startup.
    """

    def __init__(
        self,
        mixture: Mixture,
        make_example: MakeExample,
        collate: Collate,
        *,
        batch: int,
        workers: int,
        prefetch: int = PREFETCH,
    ) -> None:
        for name, value, least in (
            ("batch", batch, 1),
            ("workers", workers, 0),
            ("prefetch", prefetch, 1),
        ):
            if value < least:
                raise ValueError(f"{name}: got {value}, expected at least {least}")
        self.waited_s, self.began_s = 0.0, 0.0
        self._data = _MicroBatches(mixture, make_example, collate, batch)
        self._workers, self._prefetch = workers, prefetch

    def batches(self, first: int, stride: int = 1) -> Iterator[Batch]:
        """Micro-batches number first, first + stride, ...; closing the iterator ends its workers.

        Raises BadSample, or WorkerLost, in one sentence.
        """
        loader = DataLoader(
            self._data,
            batch_size=None,
            sampler=_Numbers(first, stride),
            num_workers=self._workers,
            prefetch_factor=self._prefetch if self._workers else None,
            multiprocessing_context="spawn" if self._workers else None,
            worker_init_fn=_start_worker,
            collate_fn=_as_it_is,
            generator=torch.Generator().manual_seed(0),  # otherwise it draws from the run's
        )
        asked = time.monotonic()
        iterator = iter(loader)
        try:
            for number in count():
                made = _next(iterator)
                waited = time.monotonic() - asked
                if number:
                    self.waited_s += waited
                else:
                    self.began_s = waited
                if isinstance(made, _Failed):
                    raise BadSample(made.says)
                yield made
                asked = time.monotonic()
        finally:
            _end(iterator)


class _Numbers(Sampler[int]):
    """first, first + stride, ..."""

    def __init__(self, first: int, stride: int) -> None:
        self._first, self._stride = first, stride

    def __iter__(self) -> Iterator[int]:
        return count(self._first, self._stride)


def _next(iterator: Iterator[Batch | _Failed]) -> Batch | _Failed:
    try:
        return next(iterator)
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise WorkerLost(
            f"a process that reads data ended by itself ({one_line(error)}): was it killed, or is there too little memory?"
        ) from error


def _end(iterator: Iterator[Any]) -> None:
    """End the workers now: torch waits until nothing refers to the iterator, e.g. a traceback.

    A worker that crashes while being ended, in the middle of a video, is ended too: its work is
    not needed any more.
    """
    shutdown = getattr(iterator, "_shutdown_workers", None)
    if shutdown is not None:
        with suppress(RuntimeError):
            shutdown()


def _start_worker(number: int) -> None:
    """One thread each: the workers share the cores already."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sys.excepthook = _say_unless_reader_left


def _say_unless_reader_left(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Ctrl-C may end the reader while a batch is handed to it, which is no error of the worker.

    The thread that hands over tensors (multiprocessing.resource_sharer) calls sys.excepthook.
    """
    if not isinstance(error, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _as_it_is(made: Any) -> Any:
    return made


def _sentence(where: str, error: Exception) -> str:
    says = one_line(error, 400) or type(error).__name__
    return says if where in says else f"{where}: {says}"
