"""Data of the simulated robots (twins), one value per robot.

Lengths in metres, in the robot's base frame. Names of tools, grippers and cameras are those of
the embodiment file of the same name.
"""

from __future__ import annotations

from dataclasses import dataclass

Xyz = tuple[float, float, float]
IMAGE_PX = 96
EXPERT = "expert"  # the name of the scripted expert among policies, and that of its node


@dataclass(frozen=True, slots=True)
class Arm:
    """model: name of the arm in the installed wheel. base_xyz: its position.

    side: prefix of its parts' names in the model. rest_xyz: where its tool waits while idle; None:
    where it is.
    """

    tool: str
    gripper: str
    camera: str
    model: str
    side: str = ""
    base_xyz: Xyz = (0.0, 0.0, 0.0)
    rest_xyz: Xyz | None = None

    @property
    def rest(self) -> Xyz:
        """rest_xyz. Raises ValueError for an arm that waits where it is."""
        if self.rest_xyz is None:
            raise ValueError(f"arm {self.tool!r}: got no rest_xyz, expected a place to wait at")
        return self.rest_xyz


@dataclass(frozen=True, slots=True)
class TwinCamera:
    """A camera at position, directed at target; square images, fovy_deg high and wide.

    up: direction that is up in the image. fineness: pixels along a side, relative to other
    cameras.
    """

    position: Xyz
    target: Xyz
    fovy_deg: float
    up: Xyz = (0.0, 0.0, 1.0)
    fineness: float = 1.0


@dataclass(frozen=True, slots=True)
class Twin:
    """One robot. drives: it has a mobile base, with the front camera on its mast.

    table: centre and half size of the surface under the objects.
    homes: tool positions at the start of a scene, varied within home_lower .. home_upper.
    families, kinds: available tasks, and how objects are named in them.
    seconds: time limit of a task.
    """

    name: str
    arms: tuple[Arm, ...]
    front: TwinCamera
    overview: TwinCamera
    table: tuple[Xyz, Xyz]
    homes: tuple[Xyz, ...]
    home_lower: Xyz = (-0.05, -0.08, -0.05)
    home_upper: Xyz = (0.05, 0.08, 0.03)
    drives: bool = False
    families: tuple[str, ...] = ("pick", "put", "push", "touch")
    kinds: tuple[str, ...] = ("colour", "shape", "size", "relation")
    seconds: float = 12.0

    @property
    def cameras(self) -> tuple[str, ...]:
        """A policy's cameras: the front camera, then one at each wrist."""
        return ("front", *(arm.camera for arm in self.arms))

    def side_px(self, camera: str, px: int = IMAGE_PX) -> int:
        """Side of the images of a camera, if wrist images have px."""
        return round(px * self.front.fineness) if camera == "front" else px


def find_twin(name: str) -> Twin:
    """The twin of that robot. Raises ValueError for a robot without one."""
    if name not in TWINS:
        raise ValueError(f"robot: got {name!r}, simulated are {', '.join(TWINS)}")
    return TWINS[name]


_ARM = Arm(tool="ee", gripper="gripper", camera="wrist", model="vx300s_left")
_PAIR = tuple(
    Arm(
        tool=f"{side}.ee",
        gripper=f"{side}.gripper",
        camera=f"{side}_wrist",
        model=f"vx300s_{side}",
        side=f"{side}_",
        base_xyz=(0.0, y, 0.0),
        rest_xyz=(0.20, y, 0.24),
    )
    for side, y in (("left", 0.24), ("right", -0.24))
)

TWINS = {
    twin.name: twin
    for twin in (
        Twin(
            "vx300s",
            arms=(_ARM,),
            front=TwinCamera((0.685, 0.0, 0.605), (0.305, 0.0, 0.015), 41.0),
            overview=TwinCamera((0.85, -0.62, 0.62), (0.24, 0.0, 0.12), 42.0),
            table=((0.28, 0.0, -0.02), (0.42, 0.55, 0.02)),
            homes=((0.30, 0.0, 0.20),),
        ),
        Twin(
            "vx300s_pair",
            arms=_PAIR,
            front=TwinCamera((0.76, 0.0, 0.66), (0.305, 0.0, 0.01), 49.0),
            overview=TwinCamera((1.10, -0.80, 0.80), (0.22, 0.0, 0.10), 42.0),
            table=((0.28, 0.0, -0.02), (0.42, 0.70, 0.02)),
            homes=tuple(arm.rest_xyz for arm in _PAIR if arm.rest_xyz is not None),
            home_lower=(-0.03, -0.03, -0.03),
            home_upper=(0.03, 0.03, 0.03),
            families=("pick", "put"),
            kinds=("colour", "shape", "size"),
        ),
        Twin(
            "vx300s_mobile",
            arms=(Arm(**{f: getattr(_ARM, f) for f in ("tool", "gripper", "camera", "model")},
                      rest_xyz=(0.16, 0.0, 0.24)),),
            front=TwinCamera((0.58, 0.0, 0.98), (0.50, 0.0, 0.0), 43.0, up=(-1.0, 0.0, 0.0), fineness=1.5),
            overview=TwinCamera((1.75, -1.45, 1.20), (0.32, 0.0, 0.40), 36.0),
            table=((0.0, 0.0, -0.02), (6.0, 6.0, 0.02)),
            homes=((0.16, 0.0, 0.24),),
            home_lower=(-0.02, -0.03, -0.03),
            home_upper=(0.03, 0.03, 0.03),
            drives=True,
            families=("pick", "put"),
            kinds=("colour", "shape", "size"),
            seconds=20.0,
        ),
    )
}  # fmt: skip
