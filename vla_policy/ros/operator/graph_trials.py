"""Trials of a comparison through the running graph: real nodes in their own processes, judged by the simulation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vla_policy.embodiment import load_embodiment
from vla_policy.embodiment.layout import layout_of
from vla_policy.evaluate.closed_loop import tool_positions
from vla_policy.evaluate.compare_worker import FILM_HZ
from vla_policy.evaluate.measures import FILM_PX, Measures, peak_memory_mb
from vla_policy.evaluate.rollout import TrialResult
from vla_policy.evaluate.suites import SUITES
from vla_policy.evaluate.twin_trials import drawn
from vla_policy.evaluate.video import write_webm
from vla_policy.msg import ActionChunk, ControlCommand
from vla_policy.ros.bringup import session
from vla_policy.ros.bringup.graph import NodeSpec, node_specs
from vla_policy.ros.messages import convert
from vla_policy.ros.operator.running_graph import NodeLog, RunningGraph
from vla_policy.ros.operator.trial import run_trial
from vla_policy.ros.operator.watch import Watch
from vla_policy.ros.process import qos
from vla_policy.sim.twin import EXPERT, find_twin
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Level, Reason, Verdict

MARGIN_S = 8.0  # of the clock that starts before the first look
ENDINGS = {"done": "ended_early", "timeout": "not_finished"}


def refuse_suite(suite: str) -> str:
    """Why a suite cannot be tried through the graph, in words; empty if it can."""
    if suite not in SUITES:
        return "the simulation node has no boxes with pictures"
    return "" if SUITES[suite].moves else "it asks where the policy looks, and nothing moves"


@contextmanager
def graph_trials(settings: Mapping[str, Any], log: Path) -> Iterator[GraphTrials]:
    """Trials of one policy on one robot; its nodes run until the block is left. log: where their lines are added."""
    session.join_or_isolate()
    with log.open("a") as file:
        trials = GraphTrials(settings, NodeLog(file, print))
        try:
            yield trials
        finally:
            trials.close()


class GraphTrials:
    """One graph at a time: another kind of scenes needs another one."""

    def __init__(self, settings: Mapping[str, Any], log: NodeLog) -> None:
        self._settings, self._log = settings, log
        self._robot = load_embodiment(settings["robot"])
        self._layout = layout_of(self._robot)
        self._split = ""
        self._graph: RunningGraph | None = None
        self._measures: Measures | None = None
        self._told: Array | None = None
        self._sequence: int | None = None
        self._warm_up = 1

    def run(self, suite: str, index: int, film: Path | None) -> dict[str, Any]:
        """A row of what happened; raises ValueError with a node's refusal, TimeoutError where one does not answer."""
        scene, task = drawn(self._settings, suite, index)
        graph = self._started(scene.split)
        graph.check()
        measures = Measures(films=film is not None, warm_up=self._warm_up)
        self._warm_up, self._told, self._sequence = 0, None, None
        self._measures = measures
        seconds = find_twin(self._robot.name).seconds
        head = self._settings["head"] or "auto"
        try:
            trial = run_trial(
                self._client, self._watch, head, scene.seed, task.instruction, seconds + MARGIN_S
            )
        finally:
            self._measures = None
        frames = [cv2.resize(f, FILM_PX, interpolation=cv2.INTER_AREA) for f in trial.strip.frames]
        code = trial.detail.partition(":")[0]
        failure = "" if trial.success else ENDINGS.get(code, code or "not_finished")
        result = TrialResult(
            scene.seed, task.instruction, task.family, task.kind, trial.success, failure,
            round(trial.seconds, 2), None, None, code == "done", trial.detail, {},
        ).to_dict()  # fmt: skip
        del result["interventions"]
        row = {**result, **measures.to_dict(), "film": "", "gpu_mb": None}
        acts = EXPERT if self._settings["policy"] == EXPERT else "policy"
        row["memory_mb"] = peak_memory_mb(graph.pids()[acts])
        if film is not None and frames and not trial.success:
            write_webm(film, frames, hz=FILM_HZ)
            row["film"] = film.name
        return row

    def close(self) -> None:
        """Stop the nodes."""
        if self._graph is not None:
            self._graph.close()
            self._graph = None

    def _started(self, split: str) -> RunningGraph:
        if self._graph is not None and split == self._split:
            return self._graph
        self.close()
        self._split, self._warm_up = split, 1
        self._graph = graph = RunningGraph(partial(self._specs, split), self._log)
        self._client = client = graph.start(self._settings["head"] or "auto")
        self._watch = Watch(client.node, self._robot)
        client.node.create_subscription(
            ControlCommand, "control_command", self._on_command, qos.TICKS
        )
        client.node.create_subscription(ActionChunk, "action_chunk", self._on_chunk, qos.COMMAND)
        graph.wait_until_ready()
        return graph

    def _specs(self, split: str, head: str) -> tuple[NodeSpec, ...]:
        settings = self._settings
        return node_specs(
            self._robot.name,
            policy=settings["policy"],
            head=head,
            device=settings["device"],
            scheme=settings["scheme"],
            renderer=settings["renderer"],
            sim=True,
            split=split,
            web_port=None,
        )

    def _on_command(self, message: ControlCommand) -> None:
        """Ticks count from the first with a plan on."""
        measures, follows = self._measures, bool(message.control_source)
        if measures is None or (self._sequence is None and not follows):
            return
        if len(message.sent):  # NaN where a group was sent nothing
            sent = np.array(message.sent)
            told = sent if self._told is None else np.where(np.isfinite(sent), sent, self._told)
            self._told = told if np.isfinite(told).all() else self._told
        took = follows and message.chunk_sequence != self._sequence
        self._sequence = int(message.chunk_sequence) if follows else self._sequence
        tools = None if self._told is None else tool_positions(self._told, self._layout)
        reasons = tuple(Reason(code, "") for code in message.reasons)
        verdict = Verdict(Level(message.level), None, reasons)
        measures.tick(convert.ns_from_stamp(message.header.stamp), tools, verdict, took=took)

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._measures is not None:
            self._measures.chunk(s_from_ns(convert.ns_from_stamp(message.inference_time)))
