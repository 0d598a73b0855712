"""The interface of a model family: observation to inputs, model actions to robot-unit rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.contract import Contract
from vla_policy.families.training import Training
from vla_policy.models.fitting import Scaling
from vla_policy.models.roofline import Stage
from vla_policy.models.sampling import Sampling
from vla_policy.types import ActionChunk, Array, Observation, Reason


@dataclass(frozen=True, slots=True)
class Sampled:
    """The network's output.

    model_actions: float64[candidates, rows, model_dim] in the model's normalised space.
    plan: text written before the actions, one per candidate; may be empty.
    """

    model_actions: Array
    plan: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """One candidate in robot units.

    actions: float64[rows, len(contract.action_names)]. terminate: the instruction is complete.
    plan: what the instruction was taken for, in words; empty if they are its own, or a plan was sampled.
    """

    actions: Array
    terminate: bool = False
    plan: str = ""


@dataclass(frozen=True, slots=True)
class Expressed:
    """Rows in robot units, as model actions.

    model_actions: float64[rows, model_dim]. known: bool[model_dim], the columns that the rows determine.
    """

    model_actions: Array
    known: Array


@dataclass(frozen=True, slots=True)
class Codec:
    """Statistics to plain JSON data and back. from_dict raises ValueError naming what is missing."""

    to_dict: Callable[[Any], dict[str, Any]]
    from_dict: Callable[[Mapping[str, Any]], Any]


# Options of Sampling for a head that continues a chunk. guidance_rows and pull set the strength
# for guided heads (models/rtc.py); `tiny` has no guidance, it predicts from the end of the frozen
# rows.
CONTINUES = ("previous", "known", "frozen_rows", "guidance_rows", "pull")


@dataclass(frozen=True, slots=True)
class Family:
    """Plain functions for the inputs and outputs of one kind of network, without state.

    heads:   the names that load_policy accepts; the first is the default.
    rows:    (checkpoint, head) -> rows of a chunk.
    prepare: (checkpoint, head, observation) -> inputs, a frozen dataclass of tensors on
             checkpoint.device, with a batch of one. Raises ValueError if the observation does not
             match the contract.
    sample:  (checkpoint, head, inputs, sampling) -> Sampled. Runs without gradients. An option of
             sampling that the head does not support is refused with a ValueError, never ignored.
    restore: (checkpoint, model_actions[rows, model_dim], observation) -> Rows.
    express: (checkpoint, chunk, observation) -> Expressed: the inverse of restore for a chunk whose row 0 is due
             at the observation; None where no head continues a chunk.
    understand: (checkpoint, instruction) -> why it cannot be followed, or None. None: any sentence is tried.
    see:     (checkpoint, observation) -> what the instruction names and no image shows, or None. None: not known.
    sample_many: (checkpoint, inputs, samplings) -> float64[observations, rows, model_dim]: one chunk for each of several
             observations, in one batch; the samplings differ in their seeds alone and continue nothing. Of the flow
             head; None: they are drawn one after another.
    not_normalised: the ends that its statistics give a column that was not normalised; None: all columns are.
    guided: whether its flow head takes a weight of the instruction (guidance).
    needs_state: contract -> whether the robot's state is read; an observation of one that is not may hold anything there.
    fits_square: whether every image is first scaled by models.fitting.with_bars into a square of contract.image_px, so
             that whoever has it may do that.
    scaling: checkpoint -> how every image is first made smaller; whoever has it may do that but for the rounding
             (models.fitting.scaled_down). None: not said, or fits_square.
    point, ask: see Policy; None where the family has no such thing.

    What it is made of, and how a folder of this project holds it (formats/native):
    network: sizes -> its network, untrained, on torch's default device. sizes: their type, a frozen dataclass.
    statistics: to plain JSON data, and back. settings: type of Checkpoint.settings, a frozen dataclass; None: none.
    tokenizer: (folder, vocab) -> Checkpoint.tokenizer. Raises FileNotFoundError or ValueError. None: no text is read.
    published: name -> sizes, of its architectures. work: (sizes, cameras, prompt) -> stages of one chunk
    (models/roofline.py); required with a published one.
    engine: (model, precision) -> the engine of a flow head, or None if this model gains nothing; None: no engine.
    training: how it learns (families/training.py); None: it cannot be trained here.
    """

    heads: tuple[str, ...]
    rows: Callable[[Checkpoint, str], int]
    prepare: Callable[[Checkpoint, str, Observation], Any]
    sample: Callable[[Checkpoint, str, Any, Sampling], Sampled]
    restore: Callable[[Checkpoint, Array, Observation], Rows]
    network: Callable[[Any], nn.Module]
    sizes: type
    statistics: Codec
    tokenizer: Callable[[Path, int], Any] | None
    settings: type | None = None
    published: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    work: Callable[[Any, int, int], tuple[Stage, ...]] | None = None
    engine: Callable[[Any, str], Any] | None = None
    training: Training | None = None
    express: Callable[[Checkpoint, ActionChunk, Observation], Expressed] | None = None
    understand: Callable[[Checkpoint, str], Reason | None] | None = None
    see: Callable[[Checkpoint, Observation], Reason | None] | None = None
    point: Callable[[Checkpoint, Observation], Mapping[str, Array]] | None = None
    ask: Callable[[Checkpoint, Observation, str], str] | None = None
    sample_many: Callable[[Checkpoint, Sequence[Any], Sequence[Sampling]], Array] | None = None
    not_normalised: tuple[float, float] | None = None
    fits_square: bool = False
    scaling: Callable[[Checkpoint], Scaling] | None = None
    guided: bool = False
    needs_state: Callable[[Contract], bool] = lambda contract: True


def network(checkpoint: Checkpoint, sampling: Sampling) -> Any:
    """The network for vision, prefix and flow: the engine, or the plain model for gradients.

    Raises ValueError if gradients are needed and the model was released for its engine.
    """
    through = sampling.continues and sampling.pull.jacobian
    if through and any(p.is_meta for p in checkpoint.model.parameters()):
        raise ValueError(
            "pull.jacobian: the plain weights were given up for the engine; load the policy with engine='off'"
        )
    return checkpoint.model if through or checkpoint.engine is None else checkpoint.engine


def require_plain(sampling: Sampling, *, head: str, but: tuple[str, ...] = ()) -> None:
    """Raises ValueError if an option of sampling, except seed and but, is not at its default."""
    default = Sampling()
    for option in fields(Sampling):
        value = getattr(sampling, option.name)
        if option.name in ("seed", *but) or value is None:
            continue
        if not isinstance(value, np.ndarray) and value == getattr(default, option.name):
            continue
        raise ValueError(f"{option.name}: the {head} head of this model has no such option")


def stacked_text(texts: Sequence[Tensor]) -> Tensor:
    """int64[1, s] of each observation as int64[observations, longest]; 0 is padding."""
    return pad_sequence([text[0] for text in texts], batch_first=True)


def require_state(observation: Observation, state_names: tuple[str, ...]) -> None:
    """Raises ValueError if the observation's state is not in the contract's order."""
    if observation.state_names != state_names:
        raise ValueError(
            f"observation.state_names: got {observation.state_names}, expected {state_names}"
        )


def require_image(images: Mapping[str, Array], name: str) -> Array:
    """uint8[h, w, 3] of camera name. Raises ValueError listing the present cameras."""
    if name not in images:
        raise ValueError(
            f"camera {name!r} is missing; the observation has {', '.join(images) or 'none'}"
        )
    return images[name]
