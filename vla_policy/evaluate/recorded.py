"""A policy on recorded observations: errors of its rows against the recorded commands.

Nothing moves. Errors are by column and by time. The error of a rotation is the angle in rad
between the two, in the column of its x; its other columns are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vla_policy.data.lerobot.reader import DataSet
from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import POSE, Layout, layout_of
from vla_policy.execution.history import History, remember
from vla_policy.execution.to_absolute import References, is_relative, resolve
from vla_policy.geometry.quaternions import turn_between
from vla_policy.models.sampling import InferenceOptions
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.timing import NS_PER_S, s_from_ns
from vla_policy.types import Array, Observation, Reason


@dataclass(frozen=True, slots=True)
class Errors:
    """columns: names, a rotation as one. values: float64[n, rows, columns], absolute errors in robot units.

    ahead_s: float64[rows], time of a row after its observation. at_s: float64[n], time of the
    observation in its episode. episode: int64[n]. A row after the episode's end is NaN.
    """

    columns: tuple[str, ...]
    values: Array
    ahead_s: Array
    at_s: Array
    episode: Array


def compare(
    policy: PolicyProtocol,
    found: DataSet,
    robot: Embodiment,
    *,
    episodes: Sequence[int],
    every: int,
    on_frame: Callable[[], None] = lambda: None,
) -> Errors:
    """Run policy at every frame number divisible by every, and compare with the following actions.

    Raises ValueError with got and expected for a set without the policy's columns or cameras.
    """
    layout = layout_of(robot)
    if found.action_names != layout.names:
        raise ValueError(
            f"{found.root}: got the action columns {', '.join(found.action_names)}, expected those of "
            f"{robot.name}: {', '.join(layout.names)}"
        )
    wanted = policy.contract.state_names
    if missing := [name for name in wanted if name not in found.state_names]:
        raise ValueError(
            f"{found.root}: got the state {', '.join(found.state_names)}, expected also {', '.join(missing)}"
        )
    picked = [found.state_names.index(name) for name in wanted]
    rows: list[Array] = []
    at: list[tuple[int, float]] = []
    for episode in episodes:
        actions = np.asarray(found.rows(episode)["action"], np.float64)
        for number in range(0, len(actions), every):
            frame = found.frame_of(episode, number)
            obs_ns = NS_PER_S + round(number * NS_PER_S / found.fps)
            words = frame.task or found.task(episode)
            state = np.asarray(frame.state, np.float64)
            seen = Observation(frame.images, state[picked], wanted, words, obs_ns)
            chunk = policy.infer_chunk(seen, None, InferenceOptions(seed=number))
            here = _here(state, found.state_names, layout, obs_ns) if is_relative(robot) else None
            references = References() if here is None else References(measured=here)
            said = resolve(chunk, robot, references)
            if isinstance(said, Reason):
                raise ValueError(f"episode {episode}, frame {number}: {said.detail}")
            rows.append(_errors(said.actions, actions, number, found.fps, robot, layout))
            at.append((episode, number / found.fps))
            on_frame()
    count = min(len(row) for row in rows)
    ahead_s = s_from_ns(robot.step_ns) * np.arange(1, count + 1)
    values = np.stack([row[:count] for row in rows])
    episode_of, at_s = np.array([e for e, _ in at]), np.array([s for _, s in at])
    return Errors(error_columns(layout), values, ahead_s, at_s, episode_of)


def error_columns(layout: Layout) -> tuple[str, ...]:
    """The columns of errors: those of the action, with a rotation as one."""
    names = list(layout.names)
    for part in reversed(layout.of_kind(POSE)):
        prefix = names[part.columns.start].rpartition(".")[0]
        names[part.rotation] = [f"{prefix}.rotation"]
    return tuple(names)


def table(errors: Errors) -> list[str]:
    """Lines of text: for each column mean, 95th percentile, maximum, and means near to far."""
    far = len(errors.ahead_s) - 1
    picks = (0, far // 2, far)
    ahead = "".join(f"{f'+{errors.ahead_s[k]:.1f} s':>10}" for k in picks)
    lines = [f"{'column':<24}{'mean':>10}{'p95':>10}{'max':>10}{ahead}"]
    for i, name in enumerate(errors.columns):
        all_of = errors.values[..., i]
        numbers = [np.nanmean(all_of), np.nanpercentile(all_of, 95), np.nanmax(all_of)]
        numbers += [_mean(all_of[:, k]) for k in picks]
        lines.append(f"{name:<24}" + "".join(f"{value:>10.4f}" for value in numbers))
    return lines


def _errors(
    said: Array, actions: Array, number: int, fps: float, robot: Embodiment, layout: Layout
) -> Array:
    """float64[rows, columns]: row j is reached (j + 1) steps after the frame, action i at the end of frame i."""
    step_s = s_from_ns(robot.step_ns)
    out = np.full((len(said), len(error_columns(layout))), np.nan)
    for j, row in enumerate(said):
        i = number + round((j + 1) * step_s * fps) - 1
        if i >= len(actions):
            break
        gaps = list(np.abs(row - actions[i]))
        for part in reversed(layout.of_kind(POSE)):
            turn = turn_between(actions[i, part.rotation], row[part.rotation])
            gaps[part.rotation] = [float(np.linalg.norm(turn))]
        out[j] = gaps
    return out


def _here(state: Array, names: tuple[str, ...], layout: Layout, obs_ns: int) -> History:
    """The robot's position at the observation, as reference of rows that are steps."""
    values = dict(zip(names, state, strict=True))
    if missing := [name for name in layout.names if name not in values]:
        raise ValueError(
            f"the policy's rows are steps: got a state without {', '.join(missing)}, expected all of the action"
        )
    return remember(History(), obs_ns, np.array([values[name] for name in layout.names]))


def _mean(values: Array) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
