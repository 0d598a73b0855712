"""pi0 and pi0.5: padded state and actions, a prompt without questions, images with bars.

pi0    [images | text | newline]  state beside the noisy actions
pi0.5  [images | "Task: text, State: numbers;\\nAction: "]  the state is in the text

Source: pi0 (arXiv:2410.24164), pi0.5 (arXiv:2504.16054), as in openpi; lerobot's differences are
in Pi0Settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vla_policy.checkpoint import normalization
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.checkpoint.normalization import Normalizer
from vla_policy.checkpoint.statistics import part_of
from vla_policy.families.family import (
    CONTINUES,
    Codec,
    Expressed,
    Family,
    Rows,
    Sampled,
    network,
    require_image,
    require_plain,
    require_state,
    stacked_text,
)
from vla_policy.models import config, flow, rtc
from vla_policy.models.config import FlowHeadConfig, ModelConfig
from vla_policy.models.engine import Engine, EnginePrefix, engine_for
from vla_policy.models.fitting import Scaling
from vla_policy.models.roofline import vla_work
from vla_policy.models.sampling import Sampling
from vla_policy.models.text import TextTokenizer, tokenizer_of
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import ActionChunk, Array, Observation

STATE_BINS = 256


@dataclass(frozen=True, slots=True)
class Pi0Statistics:
    """Normalisers of the contract's state and action columns."""

    state: Normalizer
    actions: Normalizer


@dataclass(frozen=True, slots=True)
class Pi0Settings:
    """Settings of the weights' training.

    slots: the checkpoint's names of contract.camera_names.
    relative: action columns that the network predicts minus the state at the observation.
    prompt_as_given: pi0 gets the instruction unchanged (lerobot), not with _ and newlines as
        spaces (openpi).
    state_in_words: the state is part of the prompt (pi0.5, unless trained without).
    state_words: number of its values there; more than the state has are padding (lerobot 0.4.4).
    antialias: images are reduced with (openpi) or without (lerobot) a filter.
    bars: value beside an image that is not square: -1 is black, -3 as in lerobot 0.4.4.
    corner: the image is in the lower right corner of its square (lerobot 0.3), not centred.
    """

    slots: tuple[str, ...]
    relative: tuple[str, ...] = ()
    prompt_as_given: bool = False
    state_in_words: bool = False
    state_words: int = 0
    antialias: bool = True
    bars: float = -1.0
    corner: bool = False


@dataclass(frozen=True, slots=True)
class Pi0Inputs:
    """The network's inputs; absent cameras and padding are left out, with the same result.

    images: float32[1, cameras, 3, h, w] in [-1, 1]. text: int64[1, s] ids. state:
    float32[1, state_dim]. text_without: the same prompt without an instruction, for
    classifier-free guidance.
    """

    images: torch.Tensor
    text: torch.Tensor
    text_without: torch.Tensor
    state: torch.Tensor


def rows(checkpoint: Checkpoint, head: str) -> int:
    """Rows of a chunk."""
    flow_head: FlowHeadConfig = checkpoint.model.config.flow
    return flow_head.rows


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> Pi0Inputs:
    """Images with bars, the state normalised, the prompt tokenised."""
    pictures = pictures_of(checkpoint, observation)
    return inputs_of(checkpoint, pictures, observation.state, observation.instruction)


def pictures_of(checkpoint: Checkpoint, observation: Observation) -> dict[str, torch.Tensor]:
    """float32[3, h, w] in [0, 1] by the robot's camera names.

    Raises ValueError for absent ones.
    """
    contract = checkpoint.contract
    require_state(observation, contract.state_names)
    return {
        name: torch.tensor(require_image(observation.images, name)).permute(2, 0, 1).float() / 255
        for name in contract.camera_names
    }


def inputs_of(
    checkpoint: Checkpoint,
    pictures: Mapping[str, torch.Tensor],
    state: Array,
    instruction: str,
    *,
    device: torch.device | None = None,
) -> Pi0Inputs:
    """Inputs from images float32[3, h, w] in [0, 1] by robot camera, and state in robot units.

    device: of the tensors; None: the network's.
    """
    settings, side = checkpoint.settings, checkpoint.model.config.vision.image_px
    images = [
        letterbox(
            pictures[name],
            side,
            antialias=settings.antialias,
            bars=settings.bars,
            corner=settings.corner,
        )
        for name in checkpoint.contract.camera_names
    ]
    normalised = checkpoint.statistics.state.normalise(state)
    ids = [_ids(checkpoint, words, normalised) for words in (instruction, "")]
    return assembled(checkpoint, images, normalised, ids, device=device)


def assembled(
    checkpoint: Checkpoint,
    images: list[torch.Tensor],
    state: Array,
    ids: list[list[int]],
    *,
    device: torch.device | None = None,
) -> Pi0Inputs:
    """Inputs from squares float32[3, h, w], normalised state, ids with and without instruction."""
    device = checkpoint.device if device is None else device
    padded = np.zeros(checkpoint.model.config.state_dim)
    padded[: len(state)] = state
    text, without = (torch.tensor([row], device=device) for row in ids)
    return Pi0Inputs(
        images=torch.stack(images)[None].to(device),
        text=text,
        text_without=without,
        state=torch.from_numpy(padded).float().to(device)[None],
    )


def sample(checkpoint: Checkpoint, head: str, inputs: Pi0Inputs, sampling: Sampling) -> Sampled:
    """Noise integrated to actions, the instruction weighted by guidance."""
    require_plain(
        sampling, head=head, but=("candidates", "num_steps", "solver", "guidance", *CONTINUES)
    )
    model, n = checkpoint.model, sampling.candidates
    config = model.config.flow
    _require_trained(config, sampling)
    noise = flow.candidate_noise(
        sampling.seed, n, (config.rows, model.config.action_dim), device=checkpoint.device
    )
    return Sampled(actions_from(checkpoint, inputs, noise, sampling).double().cpu().numpy())


def actions_from(
    checkpoint: Checkpoint, inputs: Pi0Inputs, noise: torch.Tensor, sampling: Sampling
) -> torch.Tensor:
    """float32[candidates, rows, action_dim] model actions integrated from noise."""
    model = network(checkpoint, sampling)
    steps = sampling.num_steps or model.config.flow.steps
    if isinstance(model, Engine) and len(noise) == 1 and _undisturbed(sampling):
        there = torch.ones(inputs.images.shape[:2], dtype=torch.bool, device=noise.device)
        return model.sample(
            inputs.images,
            there,
            inputs.text,
            inputs.state,
            noise,
            steps=steps,
            solver=sampling.solver,
        )
    features = model.vision(inputs.images[0]).flatten(0, 1)[None]  # (1, cameras * patches, e)
    state = inputs.state.expand(len(noise), -1)

    def prefix_of(text: torch.Tensor) -> Prefix | EnginePrefix:
        prefix: Prefix | EnginePrefix = model.prefix(features, text, inputs.state)
        return prefix.repeat(len(noise))

    prefix = prefix_of(inputs.text)
    velocity = lambda x, t: model.flow(prefix, state, x, t)  # noqa: E731
    if sampling.guidance != 1.0:
        without = prefix_of(inputs.text_without)
        velocity = flow.with_guidance(
            velocity, lambda x, t: model.flow(without, state, x, t), sampling.guidance
        )
    config = model.config.flow
    return rtc.integrate(
        velocity,
        noise,
        steps,
        sampling,
        prefix_trained=config.prefix_trained,
    )


def sample_many(
    checkpoint: Checkpoint, inputs: Sequence[Pi0Inputs], samplings: Sequence[Sampling]
) -> Array:
    """One chunk for each of several observations. Raises ValueError for an unsupported option."""
    for sampling in samplings:
        require_plain(sampling, head="flow", but=("num_steps", "solver"))
    config, steps = checkpoint.model.config, samplings[0].num_steps
    noise = torch.cat(
        [
            flow.candidate_noise(
                s.seed, 1, (config.flow.rows, config.action_dim), device=checkpoint.device
            )
            for s in samplings
        ]
    )
    together = Pi0Inputs(
        images=torch.cat([one.images for one in inputs]),
        text=stacked_text([one.text for one in inputs]),
        text_without=stacked_text([one.text_without for one in inputs]),
        state=torch.cat([one.state for one in inputs]),
    )
    model, images = network(checkpoint, samplings[0]), together.images
    steps = steps or config.flow.steps
    if isinstance(model, Engine):
        there = torch.ones(images.shape[:2], dtype=torch.bool, device=noise.device)
        drawn = model.sample(
            images,
            there,
            together.text,
            together.state,
            noise,
            steps=steps,
            solver=samplings[0].solver,
        )
    else:
        features = model.vision(images.flatten(0, 1)).unflatten(0, images.shape[:2]).flatten(1, 2)
        prefix = model.prefix(features, together.text, together.state)
        drawn = flow.integrate(
            lambda x, t: model.flow(prefix, together.state, x, t),
            noise,
            steps,
            solver=samplings[0].solver,
        )
    many: Array = drawn.double().cpu().numpy()
    return many


def restore(checkpoint: Checkpoint, model_actions: Array, observation: Observation) -> Rows:
    """The real columns in robot units; relative ones added to the state at the observation."""
    names = checkpoint.contract.action_names
    actions = checkpoint.statistics.actions.restore(model_actions[:, : len(names)])
    return Rows(actions + _reference(checkpoint, observation))


def express(checkpoint: Checkpoint, chunk: ActionChunk, observation: Observation) -> Expressed:
    """Inverse of restore. Padding is known only for a chunk that this model made."""
    width, dim = len(checkpoint.contract.action_names), checkpoint.model.config.action_dim
    statistics = checkpoint.statistics.actions
    model_actions = np.zeros((len(chunk.actions), dim))
    known = np.zeros(dim, dtype=bool)
    if chunk.model_actions is not None:
        model_actions[:] = chunk.model_actions
        known[:] = True
    model_actions[:, :width] = statistics.normalise(
        chunk.actions - _reference(checkpoint, observation)
    )
    known[:width] = [name not in statistics.constant for name in statistics.names]
    return Expressed(model_actions, known)


def statistics_to_dict(statistics: Pi0Statistics) -> dict[str, Any]:
    """Plain JSON data."""
    return {key: normalization.to_dict(getattr(statistics, key)) for key in ("state", "actions")}


def statistics_from_dict(data: Mapping[str, Any]) -> Pi0Statistics:
    """Inverse of statistics_to_dict. Raises ValueError naming what is missing."""
    return Pi0Statistics(
        **{key: normalization.from_dict(part_of(data, key)) for key in ("state", "actions")}
    )


def scaling(checkpoint: Checkpoint) -> Scaling:
    """As letterbox does it."""
    return Scaling(checkpoint.model.config.vision.image_px, checkpoint.settings.antialias)


STATISTICS = Codec(statistics_to_dict, statistics_from_dict)
FAMILY = Family(
    heads=("flow",),
    rows=rows,
    prepare=prepare,
    sample=sample,
    sample_many=sample_many,
    restore=restore,
    express=express,
    network=VLA,
    sizes=ModelConfig,
    statistics=STATISTICS,
    settings=Pi0Settings,
    tokenizer=tokenizer_of,
    published={"pi0": config.pi0, "pi05": config.pi05},
    work=vla_work,
    engine=engine_for,
    scaling=scaling,
    guided=True,
)


def letterbox(
    picture: torch.Tensor, side_px: int, *, antialias: bool, bars: float, corner: bool = False
) -> torch.Tensor:
    """float32[3, h, w] in [0, 1] to float32[3, side, side] in [-1, 1], with bars if not square.

    corner: the image is in the lower right corner (SmolVLA), not centred.
    """
    h, w = picture.shape[1:]
    ratio = max(w, h) / side_px
    size = (int(h / ratio), int(w / ratio))
    if size != (h, w):
        picture = F.interpolate(
            picture[None], size, mode="bilinear", align_corners=False, antialias=antialias
        )[0].clamp(0.0, 1.0)
    top, left = ((side_px - n) // (1 if corner else 2) for n in size)
    out = torch.full((3, side_px, side_px), bars)
    out[:, top : top + size[0], left : left + size[1]] = picture * 2.0 - 1.0
    return out


def prompt(instruction: str, state: Array, settings: Pi0Settings) -> str:
    """The prompt as text. state: float64[d], normalised."""
    if not settings.state_in_words:
        if settings.prompt_as_given:
            return instruction if instruction.endswith("\n") else f"{instruction}\n"
        return f"{_clean(instruction)}\n"
    padded = np.zeros(max(settings.state_words, len(state)))
    padded[: len(state)] = state
    edges = np.linspace(-1.0, 1.0, STATE_BINS + 1)[:-1]
    numbers = " ".join(str(n) for n in np.digitize(padded, edges) - 1)
    return f"Task: {_clean(instruction)}, State: {numbers};\nAction: "


def _require_trained(config: FlowHeadConfig, sampling: Sampling) -> None:
    """Raises ValueError if more rows are frozen than the network was ever given in training."""
    most = config.prefix_rows
    if config.prefix_trained and most is not None and sampling.frozen_rows > most:
        raise ValueError(
            f"frozen_rows: got {sampling.frozen_rows}, this checkpoint was trained to continue at most {most} rows: "
            "a chunk takes too long to make; take fewer num_steps or a faster machine, or another execution scheme"
        )


def _undisturbed(sampling: Sampling) -> bool:
    """Whether the velocity is the network's own, so that an engine may compute the whole chunk."""
    return sampling.guidance == 1.0 and not sampling.continues


def _clean(instruction: str) -> str:
    return instruction.strip().replace("_", " ").replace("\n", " ")


def _ids(checkpoint: Checkpoint, instruction: str, state: Array) -> list[int]:
    config, tokens = checkpoint.model.config, checkpoint.tokenizer
    text = prompt(instruction, state, checkpoint.settings)
    ids = encode(tokens, text)
    if len(ids) > config.max_text:
        raise ValueError(
            f"instruction: its prompt has {len(ids)} tokens, the model takes at most {config.max_text}: {text!r}"
        )
    return ids


def encode(tokens: TextTokenizer, text: str) -> list[int]:
    """Ids with the beginning-of-text token; the prompt's final newline is a separate token."""
    begin = [] if tokens.bos is None else [tokens.bos]
    if text.endswith("\n"):
        return begin + tokens.encode(text[:-1]) + tokens.encode("\n")
    return begin + tokens.encode(text)


def _reference(checkpoint: Checkpoint, observation: Observation) -> Array:
    """float64[d]: the state for relative columns, 0 for the others."""
    relative, names = checkpoint.settings.relative, observation.state_names
    return np.array(
        [
            observation.state[names.index(name)] if name in relative else 0.0
            for name in checkpoint.contract.action_names
        ]
    )
