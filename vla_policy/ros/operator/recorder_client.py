"""A client of a running recorder: its status and its services."""

from __future__ import annotations

import time
from collections.abc import Callable

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from std_srvs.srv import Trigger

from vla_policy.msg import RecorderStatus
from vla_policy.ros.operator.client import Client
from vla_policy.ros.process import qos
from vla_policy.srv import SaveEpisode

POLL_S = 0.05
ASK_S = 10.0
OUTCOMES = {
    None: SaveEpisode.Request.UNKNOWN,
    True: SaveEpisode.Request.SUCCESS,
    False: SaveEpisode.Request.FAILURE,
}
SAVE_S = 120.0  # queued frames are encoded first


class RecorderClient:
    """Calls the recorder of a graph through an operator's client. status: the last one; None before the first."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.status: RecorderStatus | None = None
        node = client.node
        node.create_subscription(RecorderStatus, "recorder_status", self._on_status, qos.LATCHED)
        names = ("start", "end", "discard", "delete_last")
        self._triggers = {n: node.create_client(Trigger, f"recorder/{n}") for n in names}
        self._save = node.create_client(SaveEpisode, "recorder/save")
        self._parameters = node.create_client(SetParameters, "recorder/set_parameters")
        self._take_over = node.create_client(Trigger, "control/take_over")

    def there(self, timeout_s: float) -> bool:
        """Whether a recorder answers."""
        return self._save.wait_for_service(timeout_sec=timeout_s) and self.wait(
            lambda status: True, timeout_s
        )

    def wait(self, condition: Callable[[RecorderStatus], bool], timeout_s: float) -> bool:
        """Whether a status for which condition holds came in time."""
        end_s = time.monotonic() + timeout_s
        while self.status is None or not condition(self.status):
            if time.monotonic() > end_s:
                return False
            time.sleep(POLL_S)
        return True

    def ask(self, name: str, timeout_s: float = ASK_S) -> tuple[bool, str]:
        """(whether it was done, a sentence): start, end, discard or delete_last."""
        response = self._client.call(
            self._triggers[name], Trigger.Request(), f"recorder/{name}", timeout_s
        )
        return bool(response.success), str(response.message)

    def save(self, success: bool | None = None) -> tuple[bool, str]:
        """(whether the take was kept, a sentence). success: None where it is not known."""
        request = SaveEpisode.Request(outcome=OUTCOMES[success])
        response = self._client.call(self._save, request, "recorder/save", SAVE_S)
        return bool(response.success), str(response.message)

    def set_task(self, task: str) -> None:
        """What is demonstrated from the next take on. Raises ValueError where the recorder refuses it."""
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=task)
        request = SetParameters.Request(parameters=[Parameter(name="task", value=value)])
        response = self._client.call(self._parameters, request, "recorder/set_parameters", ASK_S)
        if not response.results[0].successful:
            raise ValueError(f"the recorder refused the task: {response.results[0].reason}")

    def take_over(self) -> None:
        """A person is in control from now on. Raises ValueError where the control node refuses it."""
        response = self._client.call(
            self._take_over, Trigger.Request(), "control/take_over", ASK_S
        )
        if not response.success:
            raise ValueError(f"control/take_over refused: {response.message}")

    def _on_status(self, msg: RecorderStatus) -> None:
        self.status = msg
