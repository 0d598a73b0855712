"""Checks on a model of the bodies: collisions, reach, joint limits and singularities.

MuJoCo reads the URDF or MJCF and is imported only for robots that name one. Every result is a
function of the joints passed in; MuJoCo's scratch memory carries nothing from call to call.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vla_policy.embodiment import Embodiment, Model
from vla_policy.embodiment.layout import JOINTS, POSE, ActionPart, Layout
from vla_policy.parsing.files import one_line
from vla_policy.parsing.model_file import read_model_xml
from vla_policy.timing import s_from_ns
from vla_policy.types import Array, Reason, RobotState

if TYPE_CHECKING:
    import mujoco

ITERATIONS = 8  # of the inverse kinematics; a command is close to the arm's position
DAMPING = 1e-3
REACHED_M, REACHED_RAD = 2e-3, 1e-2
WORST_SHARE = 0.25  # of the command period that one check may take
TRIALS = 40
KEEP_OUT = "keep_out_"  # prefix of the names of boxes added to the model


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation in one configuration. amount: its size; a path that lowers it is allowed.

    what: two bodies, a joint or an arm. A violation of one never excuses a violation of another.
    """

    code: str
    what: str
    detail: str
    amount: float


class Bodies:
    """A model with the robot's joints, tools and keep-out boxes, looked up once.

    Raises ValueError if the file cannot be read, lacks a joint or tool, or is too slow to check.
    """

    def __init__(self, robot: Embodiment, layout: Layout) -> None:
        if robot.model is None:
            raise ValueError(f"robot {robot.name!r}: got no model, expected one")
        self._robot, self._layout, self._bounds = robot, layout, robot.model
        self._model = _compiled(robot, robot.model)
        self._data = _scratch(self._model)
        self._joints = np.array([_id(self._model, "joint", n) for n in robot.joint_names])
        self._qpos = self._model.jnt_qposadr[self._joints]
        self._dofs = self._model.jnt_dofadr[self._joints]
        self._tools = {p.source: _tool(self._model, robot, p) for p in layout.of_kind(POSE)}
        self._base = _id(self._model, "body", robot.base_frame)
        self._jacobian = np.zeros((6, self._model.nv))
        self.worst_s = self._measure()

    def problem(self, seen: RobotState, values: Array) -> Reason | None:
        """Reason why values, float64[d] of the whole action, must not be commanded, or None.

        seen: the measured joints; a violation that exists there already may only become smaller.
        """
        if seen.joint_positions is None:
            return Reason("no_position", "the joints have not been measured")
        here = np.array(seen.joint_positions[: len(self._qpos)])
        there, unreached = self._target(here, values)
        if unreached is not None:
            return unreached
        found = self._look(there)
        if not found:
            return None
        before = {(f.code, f.what): f.amount for f in self._look(here)}
        for one in found:
            if not one.amount <= before.get((one.code, one.what), 0.0) + 1e-9:
                return Reason(one.code, one.detail)
        return None

    def _target(self, here: Array, values: Array) -> tuple[Array, Reason | None]:
        """The joints that reach values; for tool poses by inverse kinematics from here."""
        joints = here.copy()
        for part in self._layout.of_kind(JOINTS):
            joints[list(part.joints)] = values[part.columns]
        for part in self._layout.of_kind(POSE):
            joints, short = self._solve(part, joints, values[part.columns])
            if short is not None:
                return joints, Reason("unreachable", f"{part.group}: {short}")
        return joints, None

    def _solve(self, part: ActionPart, joints: Array, pose: Array) -> tuple[Array, str | None]:
        """Damped least squares within the joint ranges; a text if the pose is not reached."""
        lower, upper = self._robot.joints.lower, self._robot.joints.upper
        tool = self._tools[part.source]
        error = self._error(tool, joints, pose)
        for _ in range(ITERATIONS):
            if _small(error):
                break
            jacobian = self._tool_jacobian(tool)
            square = jacobian @ jacobian.T + DAMPING**2 * np.eye(6)
            joints = np.clip(joints + jacobian.T @ np.linalg.solve(square, error), lower, upper)
            error = self._error(tool, joints, pose)
        if _small(error):
            return joints, None
        far_m, far_rad = np.linalg.norm(error[:3]), np.linalg.norm(error[3:])
        return joints, f"the joints reach it only to {1e3 * far_m:.0f} mm and {far_rad:.2f} rad"

    def _error(self, tool: int, joints: Array, pose: Array) -> Array:
        """float64[6] m and rad in world axes from the tool at joints to pose in the base frame."""
        import mujoco

        self._place(joints)
        data = self._data
        turn = data.xmat[self._base].reshape(3, 3)
        wanted, base, here = np.empty(4), np.empty(4), np.empty(4)
        mujoco.mju_mat2Quat(base, data.xmat[self._base])
        mujoco.mju_mulQuat(wanted, base, pose[[6, 3, 4, 5]])
        mujoco.mju_mat2Quat(here, data.site_xmat[tool])
        mujoco.mju_negQuat(here, here)
        difference, angle = np.empty(4), np.empty(3)
        mujoco.mju_mulQuat(difference, wanted, here)
        mujoco.mju_quat2Vel(angle, difference, 1.0)
        way = data.xpos[self._base] + turn @ pose[:3] - data.site_xpos[tool]
        return np.concatenate((way, angle))

    def _tool_jacobian(self, tool: int) -> Array:
        """float64[6, j] of the robot's joints at the configuration placed last."""
        import mujoco

        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], tool)
        return self._jacobian[:, self._dofs]

    def _place(self, joints: Array) -> None:
        import mujoco

        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)

    def _look(self, joints: Array) -> list[Violation]:
        """All violations in one configuration."""
        import mujoco

        self._place(joints)
        found = []
        for part in self._layout.of_kind(POSE):
            found += self._near_limits(part, joints) + self._near_singular(part)
        mujoco.mj_collision(self._model, self._data)
        return found + self._near_bodies()

    def _near_bodies(self) -> list[Violation]:
        """Each pair of bodies too close in the configuration placed last, closest first."""
        contacts = self._data.contact
        gaps: dict[tuple[str, ...], float] = {}
        for c in range(self._data.ncon):
            pair = tuple(sorted(self._body_of(int(g)) for g in contacts.geom[c]))
            if set(pair) not in [set(ignored) for ignored in self._bounds.ignore]:
                gaps[pair] = min(gaps.get(pair, np.inf), float(contacts.dist[c]))
        found = []
        for pair in sorted(gaps, key=gaps.__getitem__):
            short_m, names = self._bounds.clearance_m - gaps[pair], " and ".join(pair)
            if short_m > 0.0:
                detail = f"{names} would be {1e3 * gaps[pair]:.0f} mm apart"
                found.append(Violation("collision", names, detail, short_m))
        return found

    def _near_limits(self, part: ActionPart, joints: Array) -> list[Violation]:
        """Each joint of a tool that is too close to an end of its range."""
        gaps = np.minimum(joints - self._robot.joints.lower, self._robot.joints.upper - joints)
        moved = np.abs(self._tool_jacobian(self._tools[part.source])).max(axis=0) > 1e-9
        found = []
        for gap, name in zip(gaps[moved], np.array(self._robot.joint_names)[moved], strict=True):
            short = self._bounds.joint_margin - float(gap)
            if short > 0.0:
                detail = f"{part.group}: {name} would be {gap:.3f} from the end of its range"
                found.append(Violation("joint_limit", str(name), detail, short))
        return found

    def _near_singular(self, part: ActionPart) -> list[Violation]:
        jacobian = self._tool_jacobian(self._tools[part.source])
        least = float(np.linalg.svd(jacobian, compute_uv=False)[-1])
        short = self._bounds.singular_value - least
        if not short > 0.0:
            return []
        detail = f"{part.group}: near a singularity, the smallest singular value is {least:.4f}"
        return [Violation("singular", part.group, detail, short)]

    def _body_of(self, geom: int) -> str:
        geom_name: str = self._model.geom(geom).name
        if geom_name.startswith(KEEP_OUT):
            return geom_name
        body_name: str = self._model.body(self._model.geom_bodyid[geom]).name
        return body_name

    def _measure(self) -> float:
        """The longest of several checks, s. Raises ValueError if it endangers the command rate."""
        rng = np.random.default_rng(0)
        lower, upper = self._robot.joints.lower, self._robot.joints.upper
        took = []
        for _ in range(TRIALS):
            joints = rng.uniform(lower, upper)
            started_s = time.thread_time()  # of this thread: other processes may use the core
            self._look(joints)
            for part in self._layout.of_kind(POSE):
                self._solve(part, joints, np.array([1e3, 0, 0, 0, 0, 0, 1.0]))
            took.append(2.0 * (time.thread_time() - started_s))
        worst_s = float(np.percentile(took, 90))
        # A trajectory's path to rest is checked as well, at two points (safety/stopping_path.py).
        looks = 3 if any(o.type == "joint_trajectory" for o in self._robot.outputs.values()) else 1
        allowed_s = WORST_SHARE / looks * s_from_ns(self._robot.period_ns)
        if not worst_s <= allowed_s:
            raise ValueError(
                f"{self._bounds.file}: one check takes {1e3 * worst_s:.1f} ms, expected at most "
                f"{1e3 * allowed_s:.1f} ms at {self._robot.command_hz:g} Hz; use simpler geometry"
            )
        return worst_s


def _compiled(robot: Embodiment, bounds: Model) -> mujoco.MjModel:
    """The model with fixed links kept, keep-out boxes added, and a clearance on every geom."""
    import mujoco

    try:
        read_model_xml(bounds.file)
        spec = mujoco.MjSpec.from_file(str(bounds.file))
    except (ValueError, OSError) as error:
        raise ValueError(
            f"{bounds.file}: got a file that MuJoCo cannot read, expected a URDF or MJCF: {one_line(error)}"
        ) from error
    spec.compiler.fusestatic = False
    base = spec.body(robot.base_frame)
    if base is None:
        raise ValueError(
            f"{bounds.file}: got no body {robot.base_frame!r}, expected the base frame"
        )
    for index, box in enumerate(robot.limits.keep_out):
        base.add_geom(
            name=f"{KEEP_OUT}{index}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=(box.lower + box.upper) / 2,
            size=(box.upper - box.lower) / 2,
        )
    for name in _tool_names(robot):
        body = spec.body(name)
        if spec.site(name) is None and body is not None:
            body.add_site(name=name)
    for geom in spec.geoms:
        geom.margin = bounds.clearance_m
    try:
        return spec.compile()
    except ValueError as error:
        raise ValueError(
            f"{bounds.file}: MuJoCo cannot build it (meshes are looked for beside it): {one_line(error)}"
        ) from error


def _tool_names(robot: Embodiment) -> tuple[str, ...]:
    sides = {n.rpartition("ee.")[0] for n in robot.action_names if n.endswith("ee.x")}
    return tuple(sorted(_tool_frame(robot, f"{side}ee") for side in sides))


def _tool_frame(robot: Embodiment, source: str) -> str:
    """The frame of a tool: tool_frame, with a prefix such as 'left_' for one of several arms."""
    side = source.removesuffix("ee").removesuffix(".")
    return f"{side}_{robot.tool_frame}" if side else robot.tool_frame


def _tool(model: mujoco.MjModel, robot: Embodiment, part: ActionPart) -> int:
    return _id(model, "site", _tool_frame(robot, part.source))


def _id(model: mujoco.MjModel, kind: str, name: str) -> int:
    try:
        found: int = getattr(model, kind)(name).id
    except KeyError as error:
        raise ValueError(
            f"the model of the robot: got no {kind} {name!r}, expected one"
        ) from error
    return found


def _scratch(model: mujoco.MjModel) -> mujoco.MjData:
    import mujoco

    return mujoco.MjData(model)


def _small(error: Array) -> bool:
    return bool(
        np.linalg.norm(error[:3]) <= REACHED_M and np.linalg.norm(error[3:]) <= REACHED_RAD
    )
