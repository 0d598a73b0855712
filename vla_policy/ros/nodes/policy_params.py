"""The parameters of the policy node, and what they mean for inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vla_policy.embodiment import Embodiment
from vla_policy.embodiment.layout import Layout, layout_of
from vla_policy.execution.replanning import replan_interval_rows
from vla_policy.execution.schemes import SCHEMES
from vla_policy.execution.to_absolute import is_relative
from vla_policy.models.sampling import MAX_CANDIDATES, PULLS, SOLVERS, InferenceOptions, Pull
from vla_policy.ros.process.params import CONFIGURE, LIVE, param
from vla_policy.runtime.planning import NONE, PLANNERS
from vla_policy.runtime.schedule import InferenceConfig
from vla_policy.types import CHANGES


@dataclass(frozen=True, slots=True)
class PolicyParams:
    """Parameters of the node; those of a configuration are read again on each configure."""

    embodiment: str = param("vx300s", "robot, by name or path of its YAML file", changes=CONFIGURE)
    policy: str = param(
        "tiny", "checkpoint, by shipped name or path of its folder", changes=CONFIGURE
    )
    adapters: str = param(
        "",
        "NAME=FOLDER, ...: adapters of the policy that are kept in memory, each as large as it, for ~/set_adapter",
        changes=CONFIGURE,
    )
    head: str = param(
        "auto",
        "action head of the checkpoint; auto: its first",
        choices=("auto", "flow", "token"),
        changes=CONFIGURE,
    )
    device: str = param("cpu", "torch device: cpu, cuda, cuda:1", changes=CONFIGURE)
    seed: int = param(0, "of the sampled noise and tokens", low=0, high=2**31 - 1, changes=LIVE)
    execute_rows: int = param(
        0, "rows between two looks; 0: half a chunk", low=0, high=1000, changes=LIVE
    )
    scheme: str = param(
        "receding",
        "how chunks follow each other, as of the control node",
        choices=tuple(SCHEMES),
        changes=CONFIGURE,
    )
    instruction_change: str = param(
        "flush",
        "the plan of the instruction before: ends at once, or goes on",
        choices=CHANGES,
        changes=CONFIGURE,
    )
    look_first: bool = param(
        False, "refuse what the policy does not see; measured on simulated pictures", changes=LIVE
    )
    guidance_schedule: str = param(
        "exp", "rtc: how the plan's hold on later rows falls", choices=PULLS, changes=LIVE
    )
    guidance_weight: float = param(
        10.0, "rtc: largest weight of the guidance", low=0.1, high=100.0, changes=LIVE
    )
    guidance_jacobian: bool = param(False, "rtc: guide through the network, slower", changes=LIVE)
    num_steps: int = param(
        0, "Euler steps of the flow head; 0: the policy's own", low=0, high=100, changes=LIVE
    )
    solver: str = param("euler", "of the flow head's steps", choices=SOLVERS, changes=LIVE)
    guidance: float = param(
        1.0,
        "weight of the instruction (classifier-free guidance); 1: the model as it is, 0: without it",
        low=0.0,
        high=10.0,
        changes=LIVE,
    )
    candidates: int = param(
        1,
        "chunks drawn at once, of which the nearest to the plan is followed; more take longer",
        low=1,
        high=MAX_CANDIDATES,
        changes=LIVE,
    )
    point: bool = param(
        False,
        "after each chunk, publish on pointed_place where it sees what the instruction names; costs a look",
        changes=LIVE,
    )
    planner: str = param(
        NONE, f"who splits long instructions, as of the task node: {PLANNERS}", changes=CONFIGURE
    )
    planner_model: str = param("", "name of the model on the planner's server", changes=CONFIGURE)
    planner_pictures: bool = param(
        True, "send the planner's server the newest image", changes=CONFIGURE
    )
    planner_timeout_s: float = param(
        15.0, "longest wait for the planner's answer", low=0.1, high=300.0, changes=CONFIGURE
    )
    threads: int = param(1, "CPU threads of the networks", low=1, high=64, changes=CONFIGURE)
    autostart: bool = param(True, "configure and activate by itself")


def refuse(params: PolicyParams) -> str | None:
    """Why these values do not belong together, one sentence; None if they do."""
    try:
        named_adapters(params.adapters)
    except ValueError as error:
        return str(error)
    if params.head == "token" and params.num_steps > 0:
        return f"num_steps: got {params.num_steps}, but the token head takes no Euler steps; expected 0"
    if params.head == "token" and params.solver != "euler":
        return f"solver: got {params.solver!r}, but the token head takes no Euler steps; expected 'euler'"
    return None


def refuse_for(policy: Any, params: PolicyParams) -> str | None:
    """Why a loaded policy does not take these values, one sentence; None if it does, or tells it with its chunks."""
    if params.guidance != 1.0 and not getattr(policy, "guided", True):
        return f"guidance: got {params.guidance:g}, but this policy takes no weight of the instruction; expected 1"
    return None


def named_adapters(text: str) -> dict[str, str]:
    """NAME=FOLDER, ... as folders by name. Raises ValueError."""
    found: dict[str, str] = {}
    for entry in (part.strip() for part in text.split(",")):
        name, equals, folder = (part.strip() for part in entry.partition("="))
        if entry and not (name and equals and folder):
            raise ValueError(f"adapters: got {entry!r}, expected NAME=FOLDER, several with commas")
        if name in found:
            raise ValueError(f"adapters: got {name!r} twice, expected one folder for a name")
        if entry:
            found[name] = folder
    return found


def inference_config(params: PolicyParams, robot: Embodiment, rows: int) -> InferenceConfig:
    """rows: of a chunk of the policy."""
    return InferenceConfig(
        state_names=robot.state_names,
        max_skew_ns=round(robot.camera_max_skew_s * 1e9),
        execute_rows=replan_interval_rows(rows, params.execute_rows),
        step_ns=robot.step_ns,
        seed=params.seed,
        scheme=params.scheme,
        options=InferenceOptions(
            num_steps=params.num_steps or None,
            solver=params.solver,
            guidance=params.guidance,
            candidates=params.candidates,
            pull=Pull(params.guidance_schedule, params.guidance_weight, params.guidance_jacobian),
        ),
        layout=_executed_layout(robot),
        change=params.instruction_change,
        look_first=params.look_first,
        point=params.point,
    )


def _executed_layout(robot: Embodiment) -> Layout | None:
    """The layout of the rows that a policy writes, if they are executed as they are."""
    layout = layout_of(robot)
    return None if is_relative(robot) or layout.names != robot.action_names else layout
