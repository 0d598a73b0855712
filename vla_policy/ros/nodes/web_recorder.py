"""The recorder on the operator's page: its status and its services."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.node import Node
from std_srvs.srv import Trigger

from vla_policy.msg import RecorderStatus
from vla_policy.ros.nodes.web_calls import answered, called
from vla_policy.ros.process import qos
from vla_policy.srv import SaveEpisode
from vla_policy.web.panel import Answer, Deed, Panel

PHASES = {
    RecorderStatus.IDLE: "idle",
    RecorderStatus.RECORDING: "recording",
    RecorderStatus.DECIDING: "deciding",
}
OUTCOMES = {
    "unknown": SaveEpisode.Request.UNKNOWN,
    "success": SaveEpisode.Request.SUCCESS,
    "failure": SaveEpisode.Request.FAILURE,
}
SAVE_S = 120.0  # queued frames are encoded first
SILENT_TICKS = 4  # calls of look() without its status, after which the recorder counts as absent
DONE = {
    "start": "recording",
    "end": "the take has ended",
    "discard": "discarded",
    "delete_last": "taken out of the set",
}


class PageRecorder:
    """Sets `recorder` of the panel, None without a recorder; call look() about once a second."""

    def __init__(self, node: Node, panel: Panel) -> None:
        self._panel = panel
        self._heard: RecorderStatus | None = None
        self._silent = SILENT_TICKS
        self._services = {name: node.create_client(Trigger, f"recorder/{name}") for name in DONE}
        self._save = node.create_client(SaveEpisode, "recorder/save")
        self._parameters = node.create_client(
            SetParametersAtomically, "recorder/set_parameters_atomically"
        )
        node.create_subscription(RecorderStatus, "recorder_status", self._on_status, qos.LATCHED)

    @property
    def folder(self) -> str:
        """The folder of its recordings; empty without a recorder."""
        return "" if self._heard is None or self._silent >= SILENT_TICKS else self._heard.folder

    def deeds(self) -> dict[str, Deed]:
        """Requests for the page's server. One that ends a take is never too late."""
        return {
            "record_task": Deed(self.task),
            "record_start": Deed(lambda details: self._trigger("start")),
            "record_end": Deed(lambda details: self._trigger("end"), moves=False),
            "record_save": Deed(self.save, moves=False, limit_s=SAVE_S),
            "record_discard": Deed(lambda details: self._trigger("discard"), moves=False),
            "record_delete": Deed(self.delete, limit_s=SAVE_S),
        }

    def look(self) -> None:
        """Drop a silent recorder."""
        self._silent += 1
        if self._silent == SILENT_TICKS:
            self._panel.tell(recorder=None)

    def task(self, details: Mapping[str, Any]) -> Future[Answer]:
        """Set the task of the next takes. details: task."""
        task = details.get("task")
        if not isinstance(task, str) or len(task) > 200:
            raise ValueError(f"task: got {str(task)[:40]!r}, expected at most 200 characters")
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=task.strip())
        request = SetParametersAtomically.Request(parameters=[Parameter(name="task", value=value)])

        def told(response: SetParametersAtomically.Response) -> Answer:
            done = response.result.successful
            return Answer(done, f"task: {task}" if done else response.result.reason)

        return called(self._parameters, request, told)

    def save(self, details: Mapping[str, Any]) -> Future[Answer]:
        """Save the take. details: outcome."""
        outcome = OUTCOMES.get(str(details.get("outcome", "unknown")))
        if outcome is None:
            raise ValueError(
                f"outcome: got {str(details['outcome'])[:40]!r}, expected {', '.join(OUTCOMES)}"
            )
        request = SaveEpisode.Request(outcome=outcome)
        return called(self._save, request, lambda r: Answer(r.success, r.message or "kept"))

    def delete(self, details: Mapping[str, Any]) -> Future[Answer]:
        """Delete the newest episode of the set, if it is still the one in details: episode."""
        newest = None if self._heard is None else self._heard.saved - 1
        if details.get("episode") != newest or newest is None:
            return answered(
                Answer(False, f"episode {details.get('episode')} is not the newest any more")
            )
        return self._trigger("delete_last")

    def _trigger(self, name: str) -> Future[Answer]:
        return called(
            self._services[name],
            Trigger.Request(),
            lambda r: Answer(r.success, r.message or DONE[name]),
        )

    def _on_status(self, msg: RecorderStatus) -> None:
        self._heard, self._silent = msg, 0
        streams = zip(msg.streams, msg.rates, msg.lags, msg.gaps, strict=False)
        self._panel.tell(
            recorder={
                "phase": PHASES.get(msg.phase, "unknown"),
                "folder": msg.folder,
                "task": msg.task,
                "episode": msg.episode,
                "saved": msg.saved,
                "missing": list(msg.missing),
                "elapsed_s": round(msg.elapsed, 1),
                "frames": msg.frames,
                "invalid": msg.invalid_frames,
                "lost": msg.lost,
                "streams": [
                    {
                        "topic": topic,
                        "hz": round(hz, 1),
                        "lag_s": None if lag < 0 else round(lag, 3),
                        "gaps": gaps,
                    }
                    for topic, hz, lag, gaps in streams
                ],
                "left_s": None if msg.disk_left < 0 else round(msg.disk_left),
                "keep": msg.keep,
                "verdict": list(msg.verdict),
                "message": msg.message,
            }
        )
