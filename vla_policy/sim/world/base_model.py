"""A differential base under the arm, on planar joints: hull, wheels and the mast of the camera.

It turns about the arm's own axis and is round, so that turning sweeps no extra space.
"""

from __future__ import annotations

from vla_policy.sim.scenes.base_reach import BASE_RADIUS_M
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.robot_model import ROBOT, WORLD, add_actuator

BASE = "base"
BASE_JOINTS = ("base_x", "base_y", "base_yaw")
MAST_XZ_M = (-0.105, 1.02)

_KP = (40_000.0, 40_000.0, 4_000.0)
_KV = (2_400.0, 2_400.0, 240.0)
_DARK = [0.13, 0.13, 0.14, 1]


def add_base(spec: mujoco.MjSpec) -> None:
    """Joints, servos and bodies of the body BASE, which already carries the arm."""
    base = spec.body(BASE)
    slide, hinge = mujoco.mjtJoint.mjJNT_SLIDE, mujoco.mjtJoint.mjJNT_HINGE
    for name, kind, axis in zip(
        BASE_JOINTS, (slide, slide, hinge), ([1, 0, 0], [0, 1, 0], [0, 0, 1]), strict=True
    ):
        base.add_joint(name=name, type=kind, axis=axis)
    for name, kp, kv in zip(BASE_JOINTS, _KP, _KV, strict=True):
        add_actuator(spec, name, name, kp, kv)
    _add_hull(base)
    _add_mast(base)


def _add_hull(base: mujoco.MjsBody) -> None:
    cylinder = mujoco.mjtGeom.mjGEOM_CYLINDER
    base.add_geom(
        name="base/hull",
        type=cylinder,
        pos=[0, 0, 0.030],
        size=[BASE_RADIUS_M - 0.012, 0.024, 0],
        contype=ROBOT,
        conaffinity=WORLD,
        mass=24.0,
    )
    for side, y in (("left", 0.118), ("right", -0.118)):
        base.add_geom(
            name=f"base_wheel_{side}",
            type=cylinder,
            pos=[0, y, 0.035],
            quat=[0.7071068, 0.7071068, 0, 0],
            size=[0.034, 0.011, 0],
            rgba=_DARK,
            contype=0,
            conaffinity=0,
            mass=1.0,
        )


def _add_mast(base: mujoco.MjsBody) -> None:
    """Behind the arm and up, then a boom forward, with the camera's housing at its end."""
    x, z = MAST_XZ_M
    box = mujoco.mjtGeom.mjGEOM_BOX
    for name, pos, size in (
        ("mast", [x, 0, z / 2 + 0.025], [0.012, 0.012, z / 2 - 0.025]),
        ("boom", [(x + 0.53) / 2, 0, z], [(0.53 - x) / 2, 0.010, 0.010]),
        ("housing", [0.525, 0, z - 0.012], [0.016, 0.03, 0.014]),
    ):
        base.add_geom(
            name=f"base_{name}",
            type=box,
            pos=pos,
            size=size,
            rgba=_DARK,
            contype=0,
            conaffinity=0,
            mass=0.4,
        )
