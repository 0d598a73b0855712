"""The MuJoCo model of a twin: its robot, table or floor, three objects, tray, pad and cameras.

The model is compiled once; apply_scene.apply_scene writes a scene into its fields.
"""

from __future__ import annotations

from vla_policy.sim.twin import Twin
from vla_policy.sim.world.apply_scene import look_at
from vla_policy.sim.world.base_model import BASE, add_base
from vla_policy.sim.world.mujoco_import import mujoco
from vla_policy.sim.world.robot_model import prepare_arms, robot_assets, thin_meshes
from vla_policy.sim.world.room_model import (
    OBJECT_COUNT,
    add_card,
    add_destinations,
    add_object,
    add_table,
    set_options,
)


def build_model(twin: Twin) -> mujoco.MjModel:
    """Compile robot, table, objects, destinations and cameras."""
    assets = robot_assets()
    arms = "".join(f'<include file="{assets}/{arm.model}.xml"/>' for arm in twin.arms)
    robot = f'<body name="{BASE}">{arms}</body>' if twin.drives else arms
    spec = mujoco.MjSpec.from_string(
        f'<mujoco><include file="{assets}/vx300s_dependencies.xml"/>'
        f'<compiler meshdir="{assets}"/><worldbody>{robot}</worldbody></mujoco>'
    )
    set_options(spec)
    thin_meshes(spec)
    prepare_arms(spec, twin.arms)
    if twin.drives:
        add_base(spec)
    add_table(spec, twin)
    add_destinations(spec)
    for index in range(OBJECT_COUNT):
        add_object(spec, index)
        add_card(spec, index)
    carrier = spec.body(BASE) if twin.drives else spec.worldbody
    carrier.add_camera(name="front", pos=twin.front.position, fovy=twin.front.fovy_deg)
    view = twin.overview
    spec.worldbody.add_camera(
        name="overview",
        pos=view.position,
        quat=look_at(view.position, view.target),
        fovy=view.fovy_deg,
    )
    return spec.compile()
