"""The MuJoCo model: a ViperX 300 from the gym-aloha wheel, a table, three objects, tray and pad.

The model is compiled once; a scene is put into it by writing its fields (apply_scene).
Robot meshes are read in place from the installed wheel and thinned, so that drawing is fast.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from vla_policy.sim.looks import FRONT_FOVY_DEG, FRONT_POSITION
from vla_policy.sim.mj import mujoco
from vla_policy.sim.scene import PAD_RADIUS_M, TRAY_HALF_M, TRAY_RIM_M, Scene

ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGER_CLOSED_M, FINGER_OPEN_M = 0.021, 0.057
TOOL_OFFSET_M = 0.139  # from gripper_link to the middle of the finger pads, along the gripper
PHYSICS_DT_S = 0.004
OBJECT_COUNT = 3
DENSITY = 500.0

_PREFIX = "vx300s_left/"
_ARM_KP = np.array([900.0, 1400.0, 1000.0, 250.0, 300.0, 120.0])
_ARM_KV = np.array([45.0, 60.0, 40.0, 8.0, 9.0, 4.0])
_THIN_M = 0.004  # mesh vertices are merged on a grid of this pitch
_ROBOT, _WORLD = 2, 1  # collision bits: the robot meets the world, never itself


def robot_assets() -> Path:
    """Folder of the ViperX 300 meshes in the installed gym-aloha wheel.

    Raises ValueError with the line to run when it is not installed.
    """
    spec = importlib.util.find_spec("gym_aloha")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(
            "the simulated robot's meshes come with gym-aloha, which is not installed; "
            "run: pip install --no-deps gym-aloha"
        )
    folder = Path(spec.submodule_search_locations[0]) / "assets"
    if not (folder / "vx300s_left.xml").is_file():
        raise ValueError(f"gym-aloha: expected {folder / 'vx300s_left.xml'}, which is missing")
    return folder


def build_model() -> mujoco.MjModel:
    """Compile robot, table, objects, destinations and cameras."""
    assets = robot_assets()
    spec = mujoco.MjSpec.from_string(
        f'<mujoco><include file="{assets}/vx300s_dependencies.xml"/>'
        f'<compiler meshdir="{assets}"/><worldbody><include file="{assets}/vx300s_left.xml"/>'
        "</worldbody></mujoco>"
    )
    _set_options(spec)
    _thin_meshes(spec)
    _prepare_arm(spec)
    _add_table(spec)
    _add_destinations(spec)
    for index in range(OBJECT_COUNT):
        _add_object(spec, index)
    spec.worldbody.add_camera(name="front", pos=FRONT_POSITION, fovy=FRONT_FOVY_DEG)
    spec.worldbody.add_camera(
        name="overview",
        pos=[0.85, -0.62, 0.62],
        quat=look_at([0.85, -0.62, 0.62], [0.24, 0.0, 0.12]),
        fovy=42,
    )
    return spec.compile()


def look_at(position, target, roll_rad: float = 0.0) -> np.ndarray:
    """float64[4] wxyz of a camera (looks along its -z, y up in the image) at position."""
    forward = np.asarray(target, float) - np.asarray(position, float)
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    right, up = (
        np.cos(roll_rad) * right + np.sin(roll_rad) * up,
        np.cos(roll_rad) * up - np.sin(roll_rad) * right,
    )
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, up, -forward], 1).ravel())
    return quat


def _set_options(spec: mujoco.MjSpec) -> None:
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


def _thin_meshes(spec: mujoco.MjSpec) -> None:
    """Merge the vertices of every mesh on a grid: 30 000 faces become a few thousand."""
    compiled = spec.copy().compile()
    for mesh in list(spec.meshes):
        index = compiled.mesh(mesh.name).id
        start, count = compiled.mesh_vertadr[index], compiled.mesh_vertnum[index]
        vertices = compiled.mesh_vert[start : start + count].astype(float)
        start, count = compiled.mesh_faceadr[index], compiled.mesh_facenum[index]
        faces = compiled.mesh_face[start : start + count]
        # mesh_pos and mesh_quat undo the centring that the compiler did.
        turn = np.empty(9)
        mujoco.mju_quat2Mat(turn, compiled.mesh_quat[index])
        vertices = vertices @ turn.reshape(3, 3).T + compiled.mesh_pos[index]
        cells, owner = np.unique(np.round(vertices / _THIN_M), axis=0, return_inverse=True)
        owner = owner.ravel()
        merged = np.zeros((len(cells), 3))
        np.add.at(merged, owner, vertices)
        merged /= np.bincount(owner)[:, None]
        faces = owner[faces]
        keep = (
            (faces[:, 0] != faces[:, 1])
            & (faces[:, 1] != faces[:, 2])
            & (faces[:, 0] != faces[:, 2])
        )
        mesh.file = ""
        mesh.scale = [1, 1, 1]
        mesh.uservert = merged.ravel()
        mesh.userface = np.unique(faces[keep], axis=0).ravel()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL
        mesh.smoothnormal = False


def _prepare_arm(spec: mujoco.MjSpec) -> None:
    """Base at the origin, no gravity on the arm, stiff actuators, box fingers, tool site, wrist camera."""
    base = spec.body("vx300s_left")
    base.pos = [0, 0, 0]
    for geom in list(spec.geoms):
        if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
            geom.contype = geom.conaffinity = 0
            geom.mass = 0
    for name in (
        "1_base",
        *(g.name.split("/")[1] for g in spec.geoms if "8_gripper_prop" in g.name),
    ):
        if "prop" in name:
            spec.delete(spec.geom(_PREFIX + name))
    for site in list(spec.sites):
        spec.delete(site)
    for camera in list(spec.cameras):
        spec.delete(camera)
    for body in spec.bodies:
        if body.name.startswith(_PREFIX):
            body.gravcomp = 1
    for joint in spec.joints:
        joint.frictionloss = 0
        joint.armature = 0.02
    for name, kp, kv in zip(ARM_JOINTS, _ARM_KP, _ARM_KV, strict=True):
        _add_actuator(spec, name, kp, kv)
    gripper = spec.body(_PREFIX + "gripper_link")
    gripper.add_site(name="tool", pos=[TOOL_OFFSET_M, 0, 0], size=[0.002] * 3, rgba=[0, 0, 0, 0])
    gripper.add_geom(
        name="palm",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0.045, 0, 0],
        size=[0.035, 0.05, 0.025],
        contype=_ROBOT,
        conaffinity=_WORLD,
        mass=0,
        group=4,
    )
    _add_wrist_camera(gripper)
    _add_fingers(spec)


def _add_wrist_camera(gripper) -> None:
    """In front of the palm, looking at the point just below the finger tips."""
    position, target = np.array([0.02, 0.0, 0.085]), np.array([0.145, 0.0, 0.004])
    forward = (target - position) / np.linalg.norm(target - position)
    # Image right is the tool's +y, which is base +y when the gripper points down.
    right = np.array([0.0, 1.0, 0.0])
    up = np.cross(right, forward)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, up, -forward], 1).ravel())
    gripper.add_camera(name="wrist", pos=position, quat=quat, fovy=62)


def _add_fingers(spec: mujoco.MjSpec) -> None:
    for side, sign in (("left", 1.0), ("right", -1.0)):
        finger = spec.body(f"{_PREFIX}{side}_finger_link")
        finger.add_geom(
            name=f"{side}_pad",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[0.068, -sign * 0.0185, 0],
            size=[0.017, 0.0030, 0.010],
            rgba=[0.25, 0.25, 0.27, 1],
            contype=_ROBOT,
            conaffinity=_WORLD,
            condim=4,
            friction=[1.6, 0.02, 0.001],
            solref=[0.01, 1],
            mass=0,
        )
        joint = spec.joint(f"{_PREFIX}{side}_finger")
        joint.armature = 0.05
        joint.damping = [1.0, 0, 0]
    _add_actuator(spec, "left_finger", 800.0, 25.0, force=25.0)
    spec.add_equality(
        name="fingers",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=_PREFIX + "right_finger",
        name2=_PREFIX + "left_finger",
        data=[0, -1] + [0] * 10,
        solref=[0.005, 1],
    )


def _add_actuator(spec, name: str, kp: float, kv: float, force: float | None = None) -> None:
    """A position servo: force = kp * (ctrl - q) - kv * qd."""
    actuator = spec.add_actuator(
        name=name,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        target=_PREFIX + name,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
    )
    gain, bias = np.zeros(10), np.zeros(10)
    gain[0], bias[1], bias[2] = kp, -kp, -kv
    actuator.gainprm, actuator.biasprm = gain, bias
    if force is not None:
        actuator.forcelimited = 1
        actuator.forcerange = [-force, force]


def _add_table(spec: mujoco.MjSpec) -> None:
    world = spec.worldbody
    collide = {"contype": _WORLD, "conaffinity": _WORLD | _ROBOT}
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0.28, 0, -0.02],
        size=[0.42, 0.55, 0.02],
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


def _add_destinations(spec: mujoco.MjSpec) -> None:
    tray = spec.worldbody.add_body(name="tray")
    half, wall, rim = TRAY_HALF_M, 0.003, TRAY_RIM_M / 2
    collide = {
        "contype": _WORLD,
        "conaffinity": _WORLD | _ROBOT,
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


def _add_object(spec: mujoco.MjSpec, index: int) -> None:
    body = spec.worldbody.add_body(name=f"object{index}")
    body.add_freejoint(name=f"object{index}")
    body.add_geom(
        name=f"object{index}",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[0.018] * 3,
        density=DENSITY,
        contype=_WORLD,
        conaffinity=_WORLD | _ROBOT,
        condim=6,
        friction=[0.9, 0.01, 0.002],
        solref=[0.01, 1],
    )


_GEOM_TYPES = {
    "cube": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "ball": mujoco.mjtGeom.mjGEOM_SPHERE,
}


def apply_scene(model: mujoco.MjModel, data: mujoco.MjData, scene: Scene) -> None:
    """Write sizes, colours, destinations, light and cameras of scene into model.

    Positions of the objects and the arm are states, not model fields; World.reset sets them.
    """
    for index, item in enumerate(scene.objects):
        _write_object(model, index, item)
    looks = scene.looks
    model.body_pos[model.body("tray").id] = scene.destination_xyz("tray")
    model.body_pos[model.body("pad").id] = scene.destination_xyz("pad")
    for geom in range(model.ngeom):
        name = model.geom(geom).name
        if name.startswith(_PREFIX):
            model.geom_rgba[geom, :3] = looks.robot_rgb
        elif name.startswith("tray"):
            model.geom_rgba[geom, :3] = looks.tray_rgb
    model.geom_rgba[model.geom("pad").id, :3] = looks.pad_rgb
    model.geom_rgba[model.geom("table").id, :3] = looks.table_rgb
    model.geom_rgba[model.geom("floor").id, :3] = looks.floor_rgb
    model.light_dir[0] = looks.light_direction
    model.light_diffuse[0] = looks.light
    model.vis.headlight.ambient = [looks.ambient] * 3
    camera = model.camera("front").id
    model.cam_pos[camera] = looks.front_position
    model.cam_quat[camera] = look_at(
        looks.front_position, looks.front_target, looks.front_roll_rad
    )
    model.cam_fovy[camera] = looks.front_fovy_deg
    mujoco.mj_setConst(model, data)


def _write_object(model: mujoco.MjModel, index: int, item) -> None:
    geom, body = model.geom(f"object{index}").id, model.body(f"object{index}").id
    half = item.half_m
    model.geom_type[geom] = _GEOM_TYPES[item.shape]
    sizes = {"cube": [half] * 3, "cylinder": [half, half, 0], "ball": [half, 0, 0]}
    model.geom_size[geom] = sizes[item.shape]
    model.geom_rbound[geom] = half * {"cube": 3**0.5, "cylinder": 2**0.5, "ball": 1.0}[item.shape]
    model.geom_aabb[geom] = [0, 0, 0, half, half, half]
    model.bvh_aabb[model.body_bvhadr[body]] = [0, 0, 0, half, half, half]
    model.geom_rgba[geom] = [*item.rgb, 1.0]
    volume = half**3 * {"cube": 8.0, "cylinder": 2 * np.pi, "ball": 4 / 3 * np.pi}[item.shape]
    mass = DENSITY * volume
    model.body_mass[body] = mass
    factor = {"cube": [2 / 3] * 3, "cylinder": [7 / 12, 7 / 12, 1 / 2], "ball": [0.4] * 3}[
        item.shape
    ]
    model.body_inertia[body] = mass * half**2 * np.array(factor)
