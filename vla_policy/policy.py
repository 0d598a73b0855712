"""A loaded policy: observation in, chunk of actions in robot units out. The only door to the networks."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from . import transforms
from .contract import Contract
from .contract import check as check_contract
from .embodiment import Embodiment
from .models import flow, pointing, token_head, tokenizer
from .models.codec import UniformBins
from .models.vla import Prefix
from .models.weights import Checkpoint, load
from .paths import weights_dir
from .types import ActionChunk, Array, Observation

HEADS = ("flow", "token")
TERMINATE, STEP, GRIPPER = 0, slice(1, 7), 7  # columns of a model action, RT-2's order


@dataclass(frozen=True, slots=True)
class Policy:
    """A checkpoint with one of its heads. Holds no state between calls."""

    checkpoint: Checkpoint
    head: str
    device: torch.device

    @property
    def contract(self) -> Contract:
        """What the checkpoint expects and produces."""
        return self.checkpoint.contract

    @property
    def rows(self) -> int:
        """Rows of a chunk."""
        config = self.checkpoint.model.config
        return config.flow.rows if self.head == "flow" else config.token.rows

    def check(self, embodiment: Embodiment) -> tuple[str, ...]:
        """Sentences that say how embodiment differs from the contract; empty if it fits."""
        return check_contract(self.contract, embodiment)

    def infer(
        self,
        observation: Observation,
        previous: ActionChunk | None = None,
        *,
        seed: int | None = None,
        num_steps: int | None = None,
    ) -> ActionChunk:
        """The chunk of actions for observation.

        previous: chunk in execution, for schemes that continue it; this release does not use it.
        seed: makes the sampled noise or tokens repeatable. num_steps: Euler steps of the flow head.
        Raises ValueError if the observation does not fit the contract or the instruction is too long.
        """
        started = time.perf_counter_ns()
        generator = torch.Generator(device=self.device)
        generator.manual_seed(seed) if seed is not None else generator.seed()
        with torch.inference_mode():
            prefix, state = self._prefix(observation, "action")
            if self.head == "flow":
                model_actions = self._flow(prefix, state, generator, num_steps)
            else:
                model_actions = self._tokens(prefix, generator)
        actions = self.checkpoint.statistics.actions.restore(model_actions)
        pose = _tool_pose(observation)
        poses = transforms.steps_to_poses(pose, actions[:, STEP])
        gripper = actions[:, GRIPPER:].clip(0.0, 1.0)
        return ActionChunk(
            actions=np.concatenate((poses, gripper), axis=1),
            names=self.contract.action_names,
            obs_ns=observation.obs_ns,
            step_ns=self.contract.step_ns,
            sequence=0,
            instruction=observation.instruction,
            terminate=bool(np.mean(actions[:3, TERMINATE]) > 0.5),
            infer_ns=time.perf_counter_ns() - started,
            model_actions=model_actions,
        )

    def point(self, observation: Observation) -> dict[str, Array]:
        """Where the model sees what the instruction names: target_xyz, destination_xyz, float64[3], base frame."""
        with torch.inference_mode():
            found, _ = self._look(observation)
        return {
            "target_xyz": found.xyz[0, 0].double().cpu().numpy(),
            "destination_xyz": found.xyz[0, 2].double().cpu().numpy(),
        }

    def ask(self, observation: Observation, question: str) -> str:
        """Answer in words of the same language model. question: "name" or "point" (image location tokens)."""
        tokens = self.checkpoint.tokenizer
        end = tokens.token_to_id(tokenizer.END)
        answer: list[int] = []
        with torch.inference_mode():
            prefix, _ = self._prefix(observation, question)
            token = torch.tensor([[tokens.token_to_id(tokenizer.END)]], device=self.device)
            for _ in range(6):
                logits, prefix = self.checkpoint.model.continue_with(prefix, token)
                token = logits[:, -1:].argmax(-1)
                if token.item() == end:
                    break
                answer.append(int(token.item()))
        return " ".join(tokens.id_to_token(i) for i in answer)

    def _prefix(self, observation: Observation, question: str) -> tuple[Prefix, torch.Tensor]:
        model = self.checkpoint.model
        found, tool = self._look(observation)
        text = self._text(tokenizer.prompt(question, observation.instruction))
        values = transforms.canonical_state(observation.state)
        state = torch.from_numpy(self.checkpoint.statistics.state.normalise(values)).float()
        state = state.to(self.device)[None]
        return model.prefix(pointing.tokens(found, tool), text, state), state

    def _look(self, observation: Observation) -> tuple[pointing.Found, torch.Tensor]:
        if observation.state_names != self.contract.state_names:
            raise ValueError(
                f"observation.state_names: got {observation.state_names}, expected {self.contract.state_names}"
            )
        front, wrist = (
            self._image(observation.images, name) for name in self.contract.camera_names
        )
        pose, gripper = (
            _tool_pose(observation),
            observation.state[self.contract.state_names.index("gripper")],
        )
        tool = torch.tensor([[*pose[:3], gripper]], dtype=torch.float32, device=self.device)
        text = self._text(tokenizer.clean(observation.instruction))
        return self.checkpoint.model.vision(front, wrist, tool, text[None]).found, tool

    def _image(self, images: Mapping[str, Array], name: str) -> torch.Tensor:
        if name not in images:
            raise ValueError(
                f"camera {name!r} is missing; the observation has {', '.join(images) or 'none'}"
            )
        image = fit_square(images[name], self.contract.image_px)
        scaled = torch.tensor(image, device=self.device).float() / 127.5 - 1.0
        return scaled.permute(2, 0, 1)[None]

    def _text(self, text: str) -> torch.Tensor:
        ids = tokenizer.encode(
            self.checkpoint.tokenizer, text, self.checkpoint.model.config.max_text
        )
        return torch.tensor([ids], device=self.device)

    def _flow(
        self,
        prefix: Prefix,
        state: torch.Tensor,
        generator: torch.Generator,
        num_steps: int | None,
    ) -> Array:
        model = self.checkpoint.model
        config = model.config
        noise = torch.randn(
            1, config.flow.rows, config.action_dim, generator=generator, device=self.device
        )
        steps = config.flow.steps if num_steps is None else num_steps
        if steps < 1:
            raise ValueError(f"num_steps: got {steps}, expected at least 1")
        actions = flow.integrate(lambda x, t: model.flow(prefix, state, x, t), noise, steps)
        return actions[0].double().cpu().numpy()

    def _tokens(self, prefix: Prefix, generator: torch.Generator) -> Array:
        config = self.checkpoint.model.config.token
        tokens = self.checkpoint.tokenizer
        bins = (
            token_head.decode(
                self.checkpoint.model,
                prefix,
                first_action_token=tokens.token_to_id(tokenizer.ACTION.format(0)),
                start_token=tokens.token_to_id(tokenizer.END),
                rows=config.rows,
                bins=config.bins,
                temperature=config.temperature,
                generator=generator,
            )[0]
            .cpu()
            .numpy()
        )
        actions = UniformBins(config.bins).decode(bins)
        actions[:, TERMINATE] = bins[:, TERMINATE] * 2.0 - 1.0
        return actions


def load_policy(name_or_path: str, *, head: str = "flow", device: str = "cpu") -> Policy:
    """Load a shipped policy by name or a checkpoint folder by path.

    Raises FileNotFoundError if neither exists, ValueError if the folder does not hold what it should or the
    checkpoint has no such head.
    """
    if head not in HEADS:
        raise ValueError(f"head: got {head!r}, expected one of {', '.join(HEADS)}")
    shipped = weights_dir() / name_or_path
    folder = shipped if shipped.is_dir() else Path(name_or_path)
    if not folder.is_dir():
        names = sorted(p.name for p in weights_dir().glob("*/")) if weights_dir().is_dir() else []
        raise FileNotFoundError(
            f"policy {name_or_path!r}: no folder of that path, and shipped are only: {', '.join(names) or 'none'}"
        )
    checkpoint = load(folder, device=device)
    if getattr(checkpoint.model.config, head) is None:
        raise ValueError(f"{folder}: this checkpoint has no {head} head")
    return Policy(checkpoint, head, torch.device(device))


def fit_square(image: Array, side_px: int) -> Array:
    """uint8[h, w, 3] scaled to fit uint8[side, side, 3], with black bars where it is not square."""
    if image.shape[:2] == (side_px, side_px):
        return np.ascontiguousarray(image)
    scale = side_px / max(image.shape[:2])
    h, w = (max(1, round(n * scale)) for n in image.shape[:2])
    scaled = cv2.resize(
        image, (w, h), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    out = np.zeros((side_px, side_px, 3), np.uint8)
    top, left = (side_px - h) // 2, (side_px - w) // 2
    out[top : top + h, left : left + w] = scaled
    return out


def _tool_pose(observation: Observation) -> Array:
    names = observation.state_names
    return observation.state[
        [names.index(f"ee.{axis}") for axis in ("x", "y", "z", "qx", "qy", "qz", "qw")]
    ]
