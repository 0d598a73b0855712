"""RT-2 on PaliGemma: a vision-language model that writes its actions as tokens of its own vocabulary.

    [image patches | <bos> Q: what action should the robot take to ...? A: \\n]   prefix,
    bidirectional [Plan: ... Action:] + eight action tokens a row
    suffix, causal

For actions only action ids may be written; for any other question the whole vocabulary (RT-2,
arXiv:2307.15818, section 3.2 and 4.4). Images are resized to a square, as in PaliGemma's training.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.family import (
    Family,
    Rows,
    Sampled,
    require_image,
    require_plain,
    require_state,
)
from vla_policy.families.openvla import STATISTICS
from vla_policy.families.tool_steps import GRIPPER, ROW, poses_of
from vla_policy.models import paligemma, token_head
from vla_policy.models.config import ModelConfig, TokenHeadConfig
from vla_policy.models.paligemma import BINS
from vla_policy.models.roofline import vla_work
from vla_policy.models.sampling import Sampling
from vla_policy.models.text import TextTokenizer, tokenizer_of
from vla_policy.models.vla import VLA, Prefix
from vla_policy.types import Array, Observation

PLAN, ACTION = "Plan:", "Action:"
MAX_ANSWER = 64  # tokens of an answer


@dataclass(frozen=True, slots=True)
class Rt2Settings:
    """Data of an RT-2 checkpoint beside its weights.

    action_ids: vocabulary id of each of the 256 bins. plan: it was trained to write `Plan: ...
    Action:` before the actions, of at most max_plan tokens.
    Raises ValueError unless there are 256 distinct ids.
    """

    action_ids: tuple[int, ...]
    plan: bool = False
    max_plan: int = 48

    def __post_init__(self) -> None:
        if len(set(self.action_ids)) != BINS or len(self.action_ids) != BINS:
            raise ValueError(
                f"action_ids: got {len(set(self.action_ids))} different ids, expected {BINS}"
            )
        if self.max_plan < 1:
            raise ValueError(f"max_plan: got {self.max_plan}, expected at least 1")


@dataclass(frozen=True, slots=True)
class Rt2Inputs:
    """The prefix of one observation, including the question."""

    prefix: Prefix


def prompt(instruction: str) -> str:
    """RT-2's question (section 3.2)."""
    wanted = " ".join(instruction.replace("_", " ").split()).rstrip(".!? ")
    return f"Q: what action should the robot take to {wanted}? A:"


def text_ids(checkpoint: Checkpoint, text: str) -> list[int]:
    """PaliGemma's prefix of a text: <bos>, the text, a closing newline.

    Raises ValueError if it is too long for the model.
    """
    tokenizer = checkpoint.tokenizer
    ids = [tokenizer.bos, *tokenizer.encode(text), *tokenizer.encode("\n")]
    if len(ids) > (limit := checkpoint.model.config.max_text):
        raise ValueError(f"text has {len(ids)} tokens, the model takes at most {limit}: {text!r}")
    return ids


def rows(checkpoint: Checkpoint, head: str) -> int:
    """Rows of a chunk; RT-2 has one."""
    token: TokenHeadConfig = checkpoint.model.config.token
    return token.rows


def prepare(checkpoint: Checkpoint, head: str, observation: Observation) -> Rt2Inputs:
    """The prefix of the images and RT-2's question."""
    require_state(observation, checkpoint.contract.state_names)
    return Rt2Inputs(_prefix(checkpoint, observation, prompt(observation.instruction)))


def sample(checkpoint: Checkpoint, head: str, inputs: Rt2Inputs, sampling: Sampling) -> Sampled:
    """The plan as text, if the checkpoint writes one, then actions, from action tokens only.

    Candidates share the plan.
    """
    require_plain(sampling, head=head, but=("candidates", "num_steps", "previous"))
    model, config = checkpoint.model, checkpoint.model.config.token
    prefix, logits = inputs.prefix, token_head.after_prefix(checkpoint.model, inputs.prefix)
    plan = ""
    if checkpoint.settings.plan:
        plan, prefix, logits = _plan(checkpoint, prefix)
    n = sampling.candidates
    generator = torch.Generator(device=checkpoint.device)
    generator.manual_seed(sampling.seed) if sampling.seed is not None else generator.seed()
    bins = token_head.decode(
        model,
        prefix.repeat(n),
        logits.expand(n, -1),
        action_ids=torch.tensor(checkpoint.settings.action_ids, device=checkpoint.device),
        rows=config.rows,
        temperature=config.temperature,
        generator=generator,
    )
    return Sampled(token_head.actions_of(bins.cpu().numpy(), config.bins), (plan,) * n)


def restore(checkpoint: Checkpoint, model_actions: Array, observation: Observation) -> Rows:
    """terminate | dx dy dz drx dry drz | gripper as poses from the measured one."""
    contract = checkpoint.contract
    actions = checkpoint.statistics.actions.restore(model_actions)
    said = dict(zip(contract.model_action_names, actions.T, strict=True))
    poses = poses_of(said, observation, arm="", slot="")
    gripper = said[GRIPPER].clip(0.0, 1.0)
    return Rows(
        np.column_stack(
            (poses, gripper)
        ),  # in the order that formats.rt2 requires of the contract
        terminate=bool(np.mean(said[ROW[0]][:3]) > 0.5),
    )


def ask(checkpoint: Checkpoint, observation: Observation, question: str) -> str:
    """The answer to any question about the images, as the model's text (or <loc....> tokens)."""
    prefix = _prefix(checkpoint, observation, question)
    ids, _, _ = token_head.write(
        checkpoint.model,
        prefix,
        token_head.after_prefix(checkpoint.model, prefix),
        limit=MAX_ANSWER,
        stop_id=checkpoint.tokenizer.eos,
    )
    words: TextTokenizer = checkpoint.tokenizer
    return words.decode(ids).strip()


FAMILY = Family(
    heads=("token",),
    rows=rows,
    prepare=prepare,
    sample=sample,
    restore=restore,
    ask=ask,
    network=VLA,
    sizes=ModelConfig,
    statistics=STATISTICS,
    settings=Rt2Settings,
    tokenizer=tokenizer_of,
    published={name: partial(paligemma.rt2, name) for name in paligemma.LANGUAGE},
    work=vla_work,
)


def picture(image: Array, side_px: int) -> torch.Tensor:
    """uint8[h, w, 3] to float32[1, 3, side, side] in [-1, 1], bicubic, aspect ratio not kept."""
    squeezed = Image.fromarray(np.asarray(image)).resize(
        (side_px, side_px), Image.Resampling.BICUBIC
    )
    return torch.from_numpy(np.array(squeezed)).permute(2, 0, 1)[None].float() / 127.5 - 1.0


def _prefix(checkpoint: Checkpoint, observation: Observation, text: str) -> Prefix:
    model, device = checkpoint.model, checkpoint.device
    side = model.config.vision.image_px
    images = [
        picture(require_image(observation.images, name), side)
        for name in checkpoint.contract.camera_names
    ]
    dtype = model.vision.patch_embedding.weight.dtype  # float32 in a bfloat16 model
    seen = model.vision(torch.cat(images).to(device, dtype))  # (cameras, s, e)
    ids = torch.tensor([text_ids(checkpoint, text)], device=device)
    prefix: Prefix = model.prefix(seen.flatten(0, 1)[None], ids, torch.empty(1, 0, device=device))
    return prefix


def _plan(checkpoint: Checkpoint, prefix: Prefix) -> tuple[str, Prefix, torch.Tensor]:
    """The text between `Plan:` and `Action:`, prefix and logits after it.

    Long plans are truncated.
    """
    words = checkpoint.tokenizer.decode
    logits, prefix = _say(checkpoint, prefix, PLAN)
    ids, prefix, logits = token_head.write(
        checkpoint.model,
        prefix,
        logits,
        limit=checkpoint.settings.max_plan,
        stop_id=checkpoint.tokenizer.eos,
        is_end=lambda ids: ACTION in words(ids),
    )
    plan, found, _ = words(ids).partition(ACTION)
    if not found:
        logits, prefix = _say(checkpoint, prefix, f" {ACTION}")
    return plan.strip(), prefix, logits


def _say(checkpoint: Checkpoint, prefix: Prefix, text: str) -> tuple[torch.Tensor, Prefix]:
    ids = checkpoint.tokenizer.encode(text)
    logits, prefix = checkpoint.model.continue_with(
        prefix, torch.tensor([ids], device=checkpoint.device)
    )
    return logits[:, -1], prefix
