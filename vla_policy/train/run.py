"""One training run as a value: policy, data, duration, numbers. A run file holds it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from vla_policy.families.training import LossOptions
from vla_policy.train.adapter_options import AdapterOptions
from vla_policy.train.augment import Augmentation
from vla_policy.train.set_options import DEFAULTS, SetOptions

METRIC = "held_out_loss"
ACTIONS = "actions"  # the lesson that every family has


@dataclass(frozen=True, slots=True)
class DataSetConfig:
    """One set of demonstrations. weight: its share among the sets; None: frames to the power 0.43.

    options: how it is read; part and held_out are set by the run.
    """

    set: str
    weight: float | None = None
    options: SetOptions = DEFAULTS

    def __post_init__(self) -> None:
        if self.weight is not None:
            require("weight", self.weight, 0, math.inf, open_low=True)


@dataclass(frozen=True, slots=True)
class QuestionsConfig:
    """A file of questions about images, one JSON object a line. weight: as in DataSetConfig."""

    file: str
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.weight is not None:
            require("weight", self.weight, 0, math.inf, open_low=True)


@dataclass(frozen=True, slots=True)
class AskedConfig:
    """A set of generated frames with questions, in the lesson "answers".

    most: use the first frames.
    weight: as in DataSetConfig.
    """

    set: str
    most: int | None = None
    weight: float | None = None

    def __post_init__(self) -> None:
        if self.most is not None:
            require("most", self.most, 1, 10**9)
        if self.weight is not None:
            require("weight", self.weight, 0, math.inf, open_low=True)


@dataclass(frozen=True, slots=True)
class Optimiser:
    """AdamW.

    rates: part of the network -> factor on learning_rate. clip: largest gradient norm.
    """

    learning_rate: float = 2.5e-5
    weight_decay: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    clip: float = 1.0
    rates: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        require("learning_rate", self.learning_rate, 0, 1, open_low=True)
        require("weight_decay", self.weight_decay, 0, 1)
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 to below 1")
        require("epsilon", self.epsilon, 0, 1, open_low=True)
        require("clip", self.clip, 0, math.inf, open_low=True)
        for part, factor in self.rates.items():
            if not 0 < factor <= 1000:
                raise ValueError(
                    f"rates: got {factor} for {part}, expected above 0 to 1000; to leave a part as it is: freeze"
                )


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up over `warmup` steps, then half a cosine down to `final` of the learning rate, or constant.

    warmup: None: a twentieth of the run.
    """

    kind: Literal["cosine", "constant"] = "cosine"
    warmup: int | None = None
    final: float = 0.1

    def __post_init__(self) -> None:
        if self.warmup is not None:
            require("warmup", self.warmup, 0, 10**9)
        require("final", self.final, 0, 1)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """A checkpoint every so many steps.

    keep: number kept beside the newest: the best if measured.
    """

    every: int = 1000
    keep: int = 2

    def __post_init__(self) -> None:
        require("every", self.every, 1, 10**9)
        require("keep", self.keep, 1, 10**6)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Episodes that only measure.

    share: of each set's episodes; batches: number of micro-batches.
    """

    share: float = 0.0
    batches: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise ValueError(f"share: got {self.share}, expected 0 to below 1")
        require("batches", self.batches, 1, 10**6)


@dataclass(frozen=True, slots=True)
class Run:
    """See docs/training.md.

    policy: the start: a shipped name, a folder or a policy file; weights: its own, or random
    numbers;
    begin: a policy whose matching weights replace the random ones.
    lesson: the actions of demonstrations, or a lesson of the family's own from generated data
    (docs/model.md), for all robots of the data in one network; asked: additional questions.
    robot: the robot to train, of a folder for several. A policy for another robot than the data's
    gets the cameras and columns of the first set; cameras: name of the network -> of the robot,
    if their order does not match.
    statistics: normalisation of state and actions: from `policy`, or computed from the data;
    "auto": the policy's if it is for this robot. augment: changes of images; None: none.
    batch: samples of one step, over all processes. micro_batch: samples processed at once; None:
    batch.
    questions: beside the data, for a policy that answers with text; robot_share: of
    demonstrations.
    shard: processes divide weights, gradients and moments among them (train/sharding.py).
    ema: decay of the running mean of the weights, which is then saved; None: no mean.
    freeze: parts of the network that are not trained. adapter: train only an adapter; None: the
    network itself.
    """

    policy: str
    data: tuple[DataSetConfig, ...]
    out: str
    lesson: str = ACTIONS
    questions: tuple[QuestionsConfig, ...] = ()
    asked: tuple[AskedConfig, ...] = ()
    robot_share: float | None = None
    steps: int = 1000
    batch: int = 32
    micro_batch: int | None = None
    weights: Literal["policy", "random"] = "policy"
    begin: str | None = None
    robot: str | None = None
    statistics: Literal["auto", "policy", "data"] = "auto"
    cameras: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    augment: Augmentation | None = None
    loss: LossOptions = field(default_factory=LossOptions)
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = field(default_factory=Schedule)
    freeze: tuple[str, ...] = ()
    adapter: AdapterOptions | None = None
    ema: float | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    shard: bool = False
    device: Literal["auto", "cpu"] = "auto"
    held_out: HeldOut = field(default_factory=HeldOut)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    log_every: int = 10
    seed: int = 0
    workers: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        if not self.data:
            raise ValueError("data: got an empty list, expected at least one set")
        for name, low, high in (
            ("steps", 1, 10**9), ("batch", 1, 10**6), ("log_every", 1, 10**9), ("seed", 0, 2**31 - 1),
            ("workers", 0, 256),
        ):  # fmt: skip
            require(name, getattr(self, name), low, high)
        if self.shard and (self.questions or self.lesson != ACTIONS):
            got = "questions" if self.questions else f"lesson {self.lesson}"
            raise ValueError(
                f"shard: got true beside {got}, expected false: processes that share layers run the same ones, and "
                "samples of several kinds need different ones"
            )
        beside = self.questions or self.asked
        if (self.robot_share is None) == bool(beside):
            expected = "a share between 0 and 1" if beside else "none without questions"
            raise ValueError(f"robot_share: got {self.robot_share}, expected {expected}")
        if self.robot_share is not None and not 0 < self.robot_share < 1:
            raise ValueError(f"robot_share: got {self.robot_share}, expected between 0 and 1")
        if self.begin is not None and self.weights != "random":
            raise ValueError(f"begin: got {self.begin!r}, expected it with `weights: random` only")
        if self.asked and self.lesson == ACTIONS:
            raise ValueError("asked: got sets, expected them in a lesson only")
        if self.lesson != ACTIONS:
            for name in ("questions", "augment", "cameras", "robot", "adapter"):
                if getattr(self, name):
                    raise ValueError(f"{name}: got it in lesson {self.lesson}, which has its own")
            if self.statistics == "data":
                raise ValueError(
                    "statistics: got 'data' in a lesson, whose units are the robot's limits"
                )
        if self.threads is not None:
            require("threads", self.threads, 1, 1024)
        if self.micro_batch is not None and not (
            1 <= self.micro_batch <= self.batch and self.batch % self.micro_batch == 0
        ):
            raise ValueError(
                f"micro_batch: got {self.micro_batch}, expected a divisor of batch, {self.batch}"
            )
        if self.adapter is not None:
            self._require_for_adapter(self.adapter)
        if self.ema is not None and not 0 < self.ema < 1:
            raise ValueError(f"ema: got {self.ema}, expected a decay between 0 and 1")

    def _require_for_adapter(self, adapter: AdapterOptions) -> None:
        for key, got, expected in (
            ("weights", self.weights, "policy"),
            ("freeze", list(self.freeze), []),
        ):
            if got != expected:
                raise ValueError(f"{key}: got {got} beside adapter, expected {expected}")
        if adapter.merge:
            return
        # Their effect would be missing from the adapter's file.
        if self.statistics == "data":
            raise ValueError(
                "statistics: got data beside an adapter that is saved alone, expected auto, policy or adapter.merge: true"
            )
        if self.loss.max_delay:
            raise ValueError(
                f"loss: got max_delay {self.loss.max_delay} beside an adapter that is saved alone, expected 0 or adapter.merge: true"
            )

    @property
    def at_once(self) -> int:
        """Samples of a micro-batch."""
        return self.micro_batch or self.batch

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step, over all processes."""
        return self.batch // self.at_once


# May differ between a run and the call that resumes it: none of them changes a result.
FREE = frozenset({"out", "log_every", "workers", "threads", "device", "checkpoints", "shard"})


def differences(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """One phrase for each key, in two runs as plain data, that differs and changes results."""
    return [
        f"{key}: {_short(theirs.get(key))} there, {_short(mine.get(key))} here"
        for key in dict.fromkeys((*mine, *theirs))
        if key not in FREE and mine.get(key) != theirs.get(key)
    ]


def require(name: str, value: float, low: float, high: float, *, open_low: bool = False) -> None:
    """Raises ValueError that starts with name unless low <= value <= high, or low < value."""
    inside = (low < value if open_low else low <= value) and value <= high
    if not inside or not math.isfinite(value):
        words = f"above {low:g}" if open_low else f"from {low:g}"
        end = "" if high == math.inf else f" to {high:g}"
        raise ValueError(f"{name}: got {value}, expected a number {words}{end}")


def _short(value: Any) -> str:
    shown = str(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
