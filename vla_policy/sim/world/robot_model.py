"""The ViperX 300 of the gym-aloha wheel, prepared for physics and fast rendering.

Its meshes are read in place from the installed wheel and simplified.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from vla_policy.sim.twin import Arm
from vla_policy.sim.world.mujoco_import import mujoco

ARM_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
FINGER_CLOSED_M, FINGER_OPEN_M = 0.021, 0.057
TOOL_OFFSET_M = 0.139  # from gripper_link to the middle of the finger pads, along the gripper
ROBOT, WORLD, OTHER_ARM = (
    2,
    1,
    4,
)  # collision bits: an arm collides with the world and the other arm

_ARM_KP = np.array([900.0, 1400.0, 1000.0, 250.0, 300.0, 120.0])
_ARM_KV = np.array([45.0, 60.0, 40.0, 8.0, 9.0, 4.0])
_THIN_M = 0.004  # mesh vertices are merged on a grid of this pitch


def robot_assets() -> Path:
    """Folder of the ViperX 300 meshes in the installed gym-aloha wheel.

    Raises ValueError with the install command if the wheel is missing.
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


def thin_meshes(spec: mujoco.MjSpec) -> None:
    """Merge the vertices of every mesh on a grid: 30 000 faces become a few thousand."""
    compiled = spec.copy().compile()
    for mesh in list(spec.meshes):
        index = compiled.mesh(mesh.name).id
        start, count = compiled.mesh_vertadr[index], compiled.mesh_vertnum[index]
        vertices = compiled.mesh_vert[start : start + count].astype(float)
        start, count = compiled.mesh_faceadr[index], compiled.mesh_facenum[index]
        faces = compiled.mesh_face[start : start + count]
        # mesh_pos and mesh_quat undo the compiler's centring.
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


def prepare_arms(spec: mujoco.MjSpec, arms: tuple[Arm, ...]) -> None:
    """Arms in position, without gravity, with stiff actuators, box fingers, tool and camera."""
    for geom in list(spec.geoms):
        if geom.type == mujoco.mjtGeom.mjGEOM_MESH:
            geom.contype = geom.conaffinity = 0
            geom.mass = 0
    for geom in [g for g in spec.geoms if "8_gripper_prop" in g.name]:
        spec.delete(geom)
    for site in list(spec.sites):
        spec.delete(site)
    for camera in list(spec.cameras):
        spec.delete(camera)
    for joint in spec.joints:
        if "/" in joint.name:
            joint.frictionloss = 0
            joint.armature = 0.02
    for index, arm in enumerate(arms):
        # Two arms collide with each other, no arm with itself.
        collide = {"contype": ROBOT, "conaffinity": WORLD}
        if len(arms) > 1:
            collide["conaffinity" if index else "contype"] |= OTHER_ARM
        _prepare_arm(spec, arm, collide)


def _prepare_arm(spec: mujoco.MjSpec, arm: Arm, collide: dict[str, int]) -> None:
    base = spec.body(arm.model)
    base.pos = arm.base_xyz
    base.quat = [1, 0, 0, 0]
    base.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    for body in spec.bodies:
        if body.name.startswith(f"{arm.model}/"):
            body.gravcomp = 1
    for name, kp, kv in zip(ARM_JOINTS, _ARM_KP, _ARM_KV, strict=True):
        add_actuator(spec, arm.side + name, f"{arm.model}/{name}", kp, kv)
    gripper = spec.body(f"{arm.model}/gripper_link")
    gripper.add_site(
        name=f"{arm.side}tool", pos=[TOOL_OFFSET_M, 0, 0], size=[0.002] * 3, rgba=[0, 0, 0, 0]
    )
    gripper.add_geom(
        name=f"{arm.side}palm",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=[0.045, 0, 0],
        size=[0.035, 0.05, 0.025],
        mass=0,
        group=4,
        **collide,
    )
    _add_wrist_camera(gripper, arm.camera)
    _add_fingers(spec, arm, collide)


def _add_wrist_camera(gripper: mujoco.MjsBody, name: str) -> None:
    """In front of the palm, directed at the point just below the finger tips."""
    position, target = np.array([0.02, 0.0, 0.085]), np.array([0.145, 0.0, 0.004])
    forward = (target - position) / np.linalg.norm(target - position)
    # Image right is the tool's +y, which is base +y when the gripper points down.
    right = np.array([0.0, 1.0, 0.0])
    up = np.cross(right, forward)
    quat = np.empty(4)
    mujoco.mju_mat2Quat(quat, np.stack([right, up, -forward], 1).ravel())
    gripper.add_camera(name=name, pos=position, quat=quat, fovy=62)


def _add_fingers(spec: mujoco.MjSpec, arm: Arm, collide: dict[str, int]) -> None:
    for side, sign in (("left", 1.0), ("right", -1.0)):
        finger = spec.body(f"{arm.model}/{side}_finger_link")
        finger.add_geom(
            name=f"{arm.side}{side}_pad",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[0.068, -sign * 0.0185, 0],
            size=[0.017, 0.0030, 0.010],
            rgba=[0.25, 0.25, 0.27, 1],
            condim=4,
            friction=[1.6, 0.02, 0.001],
            solref=[0.01, 1],
            mass=0,
            **collide,
        )
        joint = spec.joint(f"{arm.model}/{side}_finger")
        joint.armature = 0.05
        joint.damping = [1.0, 0, 0]
    name = f"{arm.model}/left_finger"
    add_actuator(spec, f"{arm.side}left_finger", name, 800.0, 25.0, force=25.0)
    spec.add_equality(
        name=f"{arm.side}fingers",
        type=mujoco.mjtEq.mjEQ_JOINT,
        objtype=mujoco.mjtObj.mjOBJ_JOINT,
        name1=f"{arm.model}/right_finger",
        name2=name,
        data=[0, -1] + [0] * 10,
        solref=[0.005, 1],
    )


def add_actuator(
    spec: mujoco.MjSpec,
    name: str,
    joint: str,
    kp: float,
    kv: float,
    force: float | None = None,
) -> None:
    """A position servo: force = kp * (ctrl - q) - kv * qd."""
    actuator = spec.add_actuator(
        name=name,
        trntype=mujoco.mjtTrn.mjTRN_JOINT,
        target=joint,
        gaintype=mujoco.mjtGain.mjGAIN_FIXED,
        biastype=mujoco.mjtBias.mjBIAS_AFFINE,
    )
    gain, bias = np.zeros(10), np.zeros(10)
    gain[0], bias[1], bias[2] = kp, -kp, -kv
    actuator.gainprm, actuator.biasprm = gain, bias
    if force is not None:
        actuator.forcelimited = 1
        actuator.forcerange = [-force, force]
