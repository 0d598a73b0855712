"""Policy files of servers that describe no robot: its names of their cameras and columns.

    server: ws://gpu:8000              # or http://gpu:8000/act, of OpenVLA
    cameras: {observation/exterior_image_1_left: side, observation/wrist_image_left: wrist}   # the server's: the robot's
    state: {observation/joint_position: [joint.fr3_joint1, joint.fr3_joint2], observation/gripper_position: [gripper]}
    actions:
      names: [joint.fr3_joint1, joint.fr3_joint2, gripper]     # columns of its replies
      spaces: {arm: joint_position, hand: gripper}             # the robot's action groups, in order
      relative: [joint.fr3_joint1]                             # it predicts these minus the current state: joints, or x, y, z
    policy_hz: 15
    rows: 10                           # of a chunk, at most
    embodiments: [fr3]
    prompt: prompt                     # the key of the instruction
    image_px: 224                      # side of the square that images are scaled to; without it
    unscaled
    image_layout: hwc                  # or chw
    units: {joint.fr3_joint1: deg}     # the server's, where the robot has rad, m, 0 .. 1
    inverted: [gripper]                # 1 - x, for a gripper that is 1 where it is closed
    unnorm_key: bridge_orig            # of an OpenVLA server

A dot in a key descends into a nested mapping: images.cam_high. Strict like the embodiment file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from vla_policy.checkpoint.contract import MAX_PX, Contract
from vla_policy.embodiment.spaces import JOINT_PREFIX, POSITION, SPACES
from vla_policy.formats.policy_file import UNITS
from vla_policy.parsing import fields
from vla_policy.remote.address import is_address
from vla_policy.remote.messages import MAX_ROWS

SERVERS = "ws://HOST:PORT, wss://HOST:PORT, or http://HOST:PORT/act of an OpenVLA server"
REQUIRED = ("server", "cameras", "state", "actions", "policy_hz", "rows", "embodiments")
OPTIONAL = ("unnorm_key", "prompt", "image_px", "image_layout", "units", "inverted")
LAYOUTS = ("hwc", "chw")


@dataclass(frozen=True, slots=True)
class ServerFile:
    """cameras, state: the server's key -> the robot's camera, or columns. side_px: None: unscaled.

    scale: column -> the robot's value of one unit of the server's. The others: see above.
    """

    address: str
    cameras: Mapping[str, str]
    state: Mapping[str, tuple[str, ...]]
    contract: Contract
    rows: int
    relative: tuple[str, ...]
    prompt: str
    side_px: int | None
    layout: str
    scale: Mapping[str, float]
    inverted: tuple[str, ...]
    unnorm_key: str = ""

    @property
    def is_http(self) -> bool:
        """Whether it is an OpenVLA server."""
        return self.address.startswith(("http://", "https://"))


def read_server_file(path: Path) -> ServerFile:
    """Raises ValueError with the file, the key, what was got and what was expected."""
    content, place = fields.read_yaml(path)
    data = fields.mapping(content, place, REQUIRED, OPTIONAL)
    address = fields.text(data["server"], place.at("server"), SERVERS)
    if not is_address(address) and not address.startswith(("http://", "https://")):
        raise place.at("server").refuse(address, SERVERS)
    actions = fields.mapping(
        data["actions"], place.at("actions"), ("names", "spaces"), ("relative",)
    )
    at = place.at("actions")
    action_names = fields.names(actions["names"], at.at("names"), "action columns")
    cameras = {
        key: fields.text(camera, place.at("cameras").at(key), "a camera of the robot", fields.NAME)
        for key, camera in fields.named(
            data["cameras"], place.at("cameras"), "keys of images"
        ).items()
    }
    state = {
        key: fields.names(columns, place.at("state").at(key), "state entries")
        for key, columns in fields.named(
            data["state"], place.at("state"), "keys of the state"
        ).items()
    }
    units = data.get("units")
    units = {} if not units else fields.named(units, place.at("units"), "columns")
    state_names = tuple(name for columns in state.values() for name in columns)
    known = (*dict.fromkeys((*state_names, *action_names)),)
    spaces = {
        group: fields.choice(space, at.at("spaces").at(group), tuple(SPACES))
        for group, space in fields.named(
            actions["spaces"], at.at("spaces"), "action groups"
        ).items()
    }
    relative = _some(
        actions.get("relative"),
        at.at("relative"),
        tuple(n for n in action_names if n in state_names),
    )
    inverted = _some(data.get("inverted"), place.at("inverted"), known)
    _require_absolute(relative, at.at("relative"), set(spaces.values()))
    if both := [name for name in inverted if name in relative]:
        raise place.at("inverted").refuse(both[0], "a column that is not relative as well")
    side_px = data.get("image_px")
    if side_px is not None:
        side_px = int(fields.number(side_px, place.at("image_px"), 1, MAX_PX, "px"))
    return ServerFile(
        address=address,
        cameras=cameras,
        state=state,
        contract=Contract(
            camera_names=tuple(cameras.values()),
            image_px=side_px or 224,
            state_names=state_names,
            action_names=action_names,
            model_action_names=action_names,
            spaces=tuple(spaces.items()),
            policy_hz=fields.number(data["policy_hz"], place.at("policy_hz"), 0.1, 1000.0, "Hz"),
            embodiments=fields.names(data["embodiments"], place.at("embodiments"), "robots"),
        ),
        rows=int(fields.number(data["rows"], place.at("rows"), 1, MAX_ROWS)),
        relative=relative,
        prompt=fields.text(
            data.get("prompt", "prompt" if is_address(address) else "instruction"),
            place.at("prompt"),
            "a key",
            fields.NAME,
        ),
        side_px=side_px,
        layout=fields.choice(data.get("image_layout", "hwc"), place.at("image_layout"), LAYOUTS),
        scale={
            _some([column], place.at("units"), known)[0]: UNITS[
                fields.choice(unit, place.at("units").at(column), tuple(UNITS))
            ]
            for column, unit in units.items()
        },
        inverted=inverted,
        unnorm_key=""
        if "unnorm_key" not in data
        else fields.text(data["unnorm_key"], place.at("unnorm_key"), "a data set's name"),
    )


def _require_absolute(relative: tuple[str, ...], place: fields.Place, spaces: set[str]) -> None:
    """Refuse relative columns that the robot takes as steps, velocities or rotations."""
    for name in relative:
        if name.startswith(JOINT_PREFIX):
            fits = "joint_position" in spaces and "joint_delta" not in spaces
        else:
            fits = name.endswith(POSITION) and "ee_pose" in spaces and "ee_delta" not in spaces
        if not fits:
            raise place.refuse(
                name, "a column of a joint_position group, or x, y or z of an ee_pose group"
            )


def _some(value: object, place: fields.Place, known: tuple[str, ...]) -> tuple[str, ...]:
    """Names out of known; none if the key is absent."""
    if value is None:
        return ()
    found = fields.names(value, place, "columns")
    for i, name in enumerate(found):
        fields.choice(name, place.at(i), known)
    return found
