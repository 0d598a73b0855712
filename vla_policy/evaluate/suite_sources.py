"""Sources of suites: the twins here, and other projects' benchmarks if installed.

A source is one record: names of its suites, their robots, missing packages, and the runner of a
trial.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from vla_policy.evaluate import libero_trials, metaworld_trials
from vla_policy.evaluate.measures import Measures
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.evaluate.rt2 import COLUMNS
from vla_policy.evaluate.suites import SUITES
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim import metaworld_tasks
from vla_policy.sim.twin import TWINS

Settings = Mapping[str, Any]


class Runner(Protocol):
    """Trials of one policy on one robot."""

    @property
    def policy(self) -> PolicyProtocol: ...

    def unfit(self, suite: str) -> str:
        """Why the policy does not fit a suite, as text; empty if it does."""

    def run(self, suite: str, index: int, measures: Measures | None = None) -> TrialResult:
        """Trial number index of a suite; deterministic."""


@dataclass(frozen=True, slots=True)
class SuiteSource:
    """suites: name -> description. robots: available ones. open: settings -> runner of trials.

    missing: missing packages and how to install them, as text; empty if none.
    unfit: (suite, robot) -> why the suite does not fit the robot, as text; empty if it does.
    """

    name: str
    suites: Mapping[str, str]
    robots: tuple[str, ...]
    open: Callable[[Settings], Runner]
    missing: Callable[[Settings], str]
    unfit: Callable[[str, str], str]


def _twins(settings: Settings) -> Runner:
    from vla_policy.evaluate.twin_trials import TwinTrials  # imports the simulation

    return TwinTrials(settings)


def _metaworld(settings: Settings) -> Runner:
    return metaworld_trials.MetaworldTrials(settings)


def _without_metaworld(settings: Settings) -> str:
    if find_spec("metaworld") is not None:
        drawn = os.environ.get("MUJOCO_GL", "disable") != "disable"
        return "" if drawn else "its camera needs OpenGL: set MUJOCO_GL=egl, or osmesa"
    return (
        "the package metaworld is not installed; it asks for a MuJoCo of its own: make an environment for it, "
        "`pip install metaworld packaging`, and install this package there"
    )


def _libero(settings: Settings) -> Runner:
    return libero_trials.LiberoTrials(settings)


def _without_libero(settings: Settings) -> str:
    return libero_trials.missing()


def _complete(settings: Settings) -> str:
    return ""


def _without_pictures(settings: Settings) -> str:
    from vla_policy.data.web.pictures import load

    try:
        load(Path(settings["web"]))
    except OSError as error:
        return str(error)
    return ""


def _untold(suite: str, robot: str) -> str:
    asked, twin = SUITES[suite], TWINS[robot]
    families = [family for family in asked.families if family not in twin.families]
    kinds = [kind for kind in asked.kinds if kind not in twin.kinds]
    lacks = ", ".join((*families, *(f"objects by {kind}" for kind in kinds)))
    return f"the twin of {robot} has no {lacks}" if lacks else ""


def _any(suite: str, robot: str) -> str:
    return ""


SOURCES = {
    source.name: source
    for source in (
        SuiteSource(
            "twins", {s.name: s.says for s in SUITES.values()}, tuple(TWINS), _twins, _complete, _untold
        ),
        SuiteSource(
            "rt2",
            {c.name: c.says for c in COLUMNS.values()},
            tuple(TWINS),
            _twins,
            _without_pictures,
            _any,
        ),
        SuiteSource(
            "Meta-World",
            metaworld_trials.SUITES,
            (metaworld_tasks.ROBOT,),
            _metaworld,
            _without_metaworld,
            _any,
        ),
        SuiteSource(
            "LIBERO",
            libero_trials.SUITES,
            (libero_trials.ROBOT,),
            _libero,
            _without_libero,
            _any,
        ),
    )
}  # fmt: skip


def source_of(suite: str) -> SuiteSource:
    """Raises ValueError with all suites for an unknown name."""
    for source in SOURCES.values():
        if suite in source.suites:
            return source
    known = "; ".join(f"{s.name}: {', '.join(s.suites)}" for s in SOURCES.values())
    raise ValueError(f"--suite: got {suite!r}, expected some of {known}")


def require_offered(suites: Iterable[str], settings: Settings) -> None:
    """Raises ValueError with one sentence for an unknown suite, and for one that cannot be run here."""
    for suite in suites:
        source = source_of(suite)
        if lacks := source.missing(settings):
            raise ValueError(f"--suite: got {suite!r}, which cannot be run here: {lacks}")


def all_robots() -> tuple[str, ...]:
    """Robots of all sources, each once."""
    return tuple(dict.fromkeys(robot for source in SOURCES.values() for robot in source.robots))


def unfit(suite: str, robot: str) -> str:
    """Why the suite does not fit the robot, as text; empty if it does."""
    source = source_of(suite)
    if robot not in source.robots:
        return f"the suite is of {', '.join(source.robots)}"
    return source.unfit(suite, robot)
