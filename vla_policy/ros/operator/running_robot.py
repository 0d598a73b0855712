"""The robot of a running graph, as its control node reports it."""

from __future__ import annotations

from dataclasses import dataclass

from rcl_interfaces.srv import GetParameters

from vla_policy.ros.operator.client import Client

FOUND_S = 5.0


@dataclass(frozen=True, slots=True)
class RunningRobot:
    """embodiment: name or path of its file. use_sim_time: whether its clock is a simulation's."""

    embodiment: str
    use_sim_time: bool


def running_robot(client: Client, domain: int) -> RunningRobot:
    """The robot of the control node in the client's namespace. Raises TimeoutError if none answers."""
    asked = client.node.create_client(GetParameters, "control/get_parameters")
    try:
        if not client.wait_for_control(FOUND_S) or not asked.wait_for_service(FOUND_S):
            raise TimeoutError(
                f"no robot in ROS domain {domain}; start one with `vla up` or `make demo`"
            )
        request = GetParameters.Request(names=["embodiment", "use_sim_time"])
        embodiment, sim_time = client.ask(asked, request, "control/get_parameters").values
        return RunningRobot(embodiment.string_value, sim_time.bool_value)
    finally:
        client.node.destroy_client(asked)
