"""Where suites come from: the twins here, benchmarks of other projects where their packages are installed.

A source is one record: what its suites are called, on which robots, what it lacks here, and what runs a trial.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from vla_policy.evaluate import metaworld_trials
from vla_policy.evaluate.measures import Measures
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.evaluate.rt2 import COLUMNS
from vla_policy.evaluate.suites import SUITES
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.sim.twin import TWINS

Settings = Mapping[str, Any]


class Runner(Protocol):
    """Trials of one policy on one robot."""

    @property
    def policy(self) -> PolicyProtocol: ...

    def unfit(self, suite: str) -> str:
        """Why the policy cannot be asked a suite, in words; empty if it can."""

    def run(self, suite: str, index: int, measures: Measures | None = None) -> TrialResult:
        """Trial number index of a suite; the same every time."""


@dataclass(frozen=True, slots=True)
class SuiteSource:
    """suites: name -> what is asked. robots: on which they are tried. open: settings -> what runs them.

    missing: what is lacking here and how to get it, in words; empty if nothing is.
    unfit: (suite, robot) -> why this robot is not asked that, in words; empty if it is.
    """

    name: str
    suites: Mapping[str, str]
    robots: tuple[str, ...]
    open: Callable[[Settings], Runner]
    missing: Callable[[Settings], str]
    unfit: Callable[[str, str], str]


def _twins(settings: Settings) -> Runner:
    from vla_policy.evaluate.twin_trials import TwinTrials  # takes the simulation

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
            (metaworld_trials.ROBOT,),
            _metaworld,
            _without_metaworld,
            _any,
        ),
    )
}  # fmt: skip


def source_of(suite: str) -> SuiteSource:
    """Raises ValueError with all suites for a name that there is not."""
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
    """Why no policy is asked this suite on this robot, in words; empty if policies are."""
    source = source_of(suite)
    if robot not in source.robots:
        return f"the suite is of {', '.join(source.robots)}"
    return source.unfit(suite, robot)
