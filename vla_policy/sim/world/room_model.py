"""The surroundings of the robot: light, table or floor, tray, pad and three objects."""

from __future__ import annotations

from vla_policy.sim.scenes.scene import CARD_PX, PAD_RADIUS_M, TRAY_HALF_M, TRAY_RIM_M
from vla_policy.sim.twin import Twin
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.robot_model import ROBOT, WORLD

PHYSICS_DT_S = 0.004
OBJECT_COUNT = 3
DENSITY = 500.0


def set_options(spec: mujoco.MjSpec) -> None:
    """Solver, buffers and the one light, plain so that all renderers agree."""
    spec.compiler.inertiagrouprange = [0, 5]
    spec.option.timestep = PHYSICS_DT_S
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 10
    spec.option.iterations = 30
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.global_.offwidth = 960
    spec.visual.global_.offheight = 720
    spec.visual.map.znear = 0.005
    spec.visual.map.zfar = 40
    spec.stat.extent = 1.0
    spec.visual.headlight.ambient = [0.45] * 3
    spec.visual.headlight.diffuse = [0.0] * 3
    spec.visual.headlight.specular = [0.0] * 3
    spec.worldbody.add_light(
        name="sun",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        dir=[0, 0, -1],
        diffuse=[0.6] * 3,
        ambient=[0, 0, 0],
        specular=[0, 0, 0],
        castshadow=False,
    )


def add_table(spec: mujoco.MjSpec, twin: Twin) -> None:
    """The surface under the objects, and a floor far below."""
    world = spec.worldbody
    collide = {"contype": WORLD, "conaffinity": WORLD | ROBOT}
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=twin.table[0],
        size=twin.table[1],
        friction=[0.9, 0.005, 0.0003],
        **collide,
    )
    world.add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0, 0, -0.72],
        size=[12, 12, 0.02],
        contype=0,
        conaffinity=0,
    )


def add_destinations(spec: mujoco.MjSpec) -> None:
    """Tray and pad."""
    tray = spec.worldbody.add_body(name="tray")
    half, wall, rim = TRAY_HALF_M, 0.003, TRAY_RIM_M / 2
    collide = {
        "contype": WORLD,
        "conaffinity": WORLD | ROBOT,
        "type": mujoco.mjtGeom.mjGEOM_BOX,
    }
    tray.add_geom(name="tray_floor", pos=[0, 0, 0.001], size=[half, half, 0.001], **collide)
    outer = half + wall
    for name, pos, size in (
        ("tray_x+", [outer, 0, rim], [wall, outer + wall, rim]),
        ("tray_x-", [-outer, 0, rim], [wall, outer + wall, rim]),
        ("tray_y+", [0, outer, rim], [half, wall, rim]),
        ("tray_y-", [0, -outer, rim], [half, wall, rim]),
    ):
        tray.add_geom(name=name, pos=pos, size=size, **collide)
    pad = spec.worldbody.add_body(name="pad")
    pad.add_geom(
        name="pad",
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=[0, 0, 0.0004],
        size=[PAD_RADIUS_M, 0.0004, 0],
        contype=0,
        conaffinity=0,
    )


def add_card(spec: mujoco.MjSpec, index: int) -> None:
    """The picture that an object may have; a scene fills it in."""
    name = f"card{index}"
    spec.add_texture(
        name=name,
        type=mujoco.mjtTexture.mjTEXTURE_2D,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=[1.0] * 3,
        rgb2=[1.0] * 3,
        width=CARD_PX,
        height=CARD_PX,
        nchannel=3,
    )
    material = spec.add_material(name=name)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name


def add_object(spec: mujoco.MjSpec, index: int) -> None:
    """A free body; a scene sets its shape and size."""
    body = spec.worldbody.add_body(name=f"object{index}")
    body.add_freejoint(name=f"object{index}")
    body.add_geom(
        name=f"object{index}",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.018] * 3,
        density=DENSITY,
        contype=WORLD,
        conaffinity=WORLD | ROBOT,
        condim=6,
        friction=[0.9, 0.01, 0.002],
        solref=[0.01, 1],
    )
