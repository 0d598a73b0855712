"""What is said is understood, and what is not clear is refused in one helpful sentence."""

from dataclasses import replace

import numpy as np
import pytest

from vla_policy.sim.scenes.scene import Scene, SceneObject, sample_scene
from vla_policy.sim.tasks.judge import TIP_M, Judge
from vla_policy.sim.tasks.references import KINDS, Reference
from vla_policy.sim.tasks.tasks import (
    FAMILIES,
    TEMPLATES,
    UNSEEN_TEMPLATES,
    Task,
    free_way,
    phrase_task,
    sample_task,
)
from vla_policy.sim.tasks.typed import parse_task
from vla_policy.sim.world.ground_truth import Tool, Truth


def table() -> Scene:
    """Red cube left, red ball right, green cube far right, all of different size."""
    things = (
        ("red", "cube", 0.014, -0.15),
        ("red", "ball", 0.018, 0.0),
        ("green", "cube", 0.022, 0.15),
    )
    objects = tuple(SceneObject(c, s, h, (0.25, y), 0.0, (1, 0, 0)) for c, s, h, y in things)
    return replace(sample_scene(0), objects=objects, tray_xy=(0.40, -0.15), pad_xy=(0.40, 0.12))


def truth(scene: Scene, time_s: float = 0.0, **changes) -> Truth:
    xyz = np.array([[*o.xy, o.half_m] for o in scene.objects])
    tool = {"xyz": np.array([0.3, 0.0, 0.2]), "gripper": 1.0}
    tool |= {"held": (False,) * 3, "touched": (False,) * 3}
    tool |= {name: changes.pop(name) for name in tuple(changes) if name in tool}
    changes |= {"room_xyz": changes.get("object_xyz", xyz)}
    plain = Truth(scene, round(time_s * 1e9), xyz, np.zeros(3), (Tool(**tool),), xyz)
    return replace(plain, **changes)


def moved(scene: Scene, index: int, xyz) -> np.ndarray:
    out = truth(scene).object_xyz.copy()
    out[index] = xyz
    return out


@pytest.mark.parametrize("paraphrases", ["seen", "unseen"])
def test_every_template_is_understood_again(paraphrases: str) -> None:
    templates = TEMPLATES if paraphrases == "seen" else UNSEEN_TEMPLATES
    scene, rng = table(), np.random.default_rng(0)
    reference = Reference("colour", "red cube", 0)
    for family in FAMILIES:
        said = set()
        for destination in (
            (None,)
            if family in ("pick", "touch")
            else ("pad",)
            if family == "push"
            else ("tray", "pad")
        ):
            for _ in range(300):
                task = phrase_task(family, reference, destination, rng, paraphrases=paraphrases)
                found = parse_task(task.instruction, scene)
                assert (found.family, found.target, found.destination) == (family, 0, destination)
                said.add(task.instruction)
        assert len(said) >= len(templates[family])


def test_sampled_tasks_are_understood_again() -> None:
    for seed in range(60):
        scene, rng = sample_scene(seed), np.random.default_rng(seed)
        for _ in range(10):
            task = sample_task(scene, rng)
            assert replace(parse_task(task.instruction, scene), kind="") == replace(task, kind="")


def test_unseen_paraphrases_are_not_training_sentences() -> None:
    for family in FAMILIES:
        assert not set(TEMPLATES[family]) & set(UNSEEN_TEMPLATES[family])


@pytest.mark.parametrize(
    ("said", "target"),
    [
        ("Pick up the GREEN cube!", 2),
        ("please, grab a ball", 1),
        ("could you lift the smallest one?", 0),
        ("take the biggest cube", 2),
        ("pick up the object left of the ball", 0),
        ("get the cube to the right of the red ball", 2),
        ("raise the object nearest to the tray", 0),
        ("put the cube farthest from the green cube in the tray", 0),
        ("push the green thing to the pad", 2),
        ("move the object closest to the pad into the tray", 2),
    ],
)
def test_free_wording(said: str, target: int) -> None:
    assert parse_task(said, table()).target == target


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "empty"),
        ("pick up the cube", "red cube and green cube"),
        ("pick up the blue cube", "there is a red cube, a red ball, a green cube"),
        ("pick up the banana", "unknown word 'banana'"),
        ("dance", "not understood"),
        ("put the green cube", "where to"),
        ("put the cube nearest to the tray", "where to"),
        ("push the green cube to the tray", "rim"),
        ("pick up the object left of the red cube", "no single object"),
    ],
)
def test_what_is_unclear_is_refused_with_a_sentence(said: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_task(said, table())


def test_each_kind_of_reference_can_be_asked_for() -> None:
    for kind in KINDS:
        kinds = set()
        for seed in range(30):
            try:
                kinds.add(
                    sample_task(sample_scene(seed), np.random.default_rng(0), "pick", kind).kind
                )
            except ValueError:
                continue
        assert kinds == {kind}


def test_a_push_needs_a_free_way() -> None:
    scene = table()
    assert free_way(scene, 2)
    blocked = replace(scene, pad_xy=(0.25, 0.30))
    assert not free_way(blocked, 1)  # the green cube stands between


def pick(scene: Scene) -> Judge:
    return Judge(Task("pick", "", 0, None, None, "colour"), truth(scene))


def test_pick_needs_height_grip_and_time() -> None:
    scene = table()
    up = moved(scene, 0, [0.25, -0.15, 0.10])
    tool = np.array([0.25, -0.15, 0.10])
    held = {"object_xyz": up, "held": (True, False, False), "xyz": tool}
    judge = pick(scene)
    assert not judge.update(truth(scene, 0.0, **held)).success
    assert not judge.update(truth(scene, 0.2, **held)).success
    result = judge.update(truth(scene, 0.4, **held))
    assert result.success and result.detail == "lifted red cube" and judge.lifted == (0,)
    dropped = judge.update(truth(scene, 0.6))
    assert not dropped.success and dropped.ever_success


def test_a_thrown_or_another_object_is_no_pick() -> None:
    scene, judge = table(), pick(table())
    for time_s in (0.0, 0.5, 1.0):
        assert not judge.update(
            truth(scene, time_s, object_xyz=moved(scene, 0, [0.25, -0.15, 0.2]))
        ).success
    judge = pick(scene)
    other = {"object_xyz": moved(scene, 2, [0.25, 0.15, 0.1]), "held": (False, False, True)}
    judge.update(truth(scene, 0.0, **other))
    assert not judge.update(truth(scene, 0.5, **other)).success and judge.lifted == (2,)


@pytest.mark.parametrize(
    ("destination", "xyz", "speed", "held", "success"),
    [
        ("tray", [0.42, -0.13, 0.016], 0.0, False, True),
        ("tray", [0.42, -0.13, 0.016], 0.2, False, False),  # still rolling
        ("tray", [0.42, -0.13, 0.016], 0.0, True, False),  # not let go
        ("tray", [0.40, -0.08, 0.016], 0.0, False, False),  # outside the rim
        ("tray", [0.42, -0.13, 0.060], 0.0, False, False),  # above it
        ("pad", [0.42, 0.14, 0.014], 0.0, False, True),
        ("pad", [0.40, 0.18, 0.014], 0.0, False, False),
    ],
)
def test_put(destination: str, xyz: list[float], speed: float, held: bool, success: bool) -> None:
    scene = table()
    judge = Judge(Task("put", "", 0, None, destination, "colour"), truth(scene))
    now = truth(
        scene, 1.0, object_xyz=moved(scene, 0, xyz), object_speed=np.array([speed, 0, 0]),
        held=(held, False, False),
    )  # fmt: skip
    assert judge.update(now).success is success


def test_a_push_must_not_lift() -> None:
    scene = table()
    on_pad = moved(scene, 0, [0.40, 0.12, 0.014])
    judge = Judge(Task("push", "", 0, None, "pad", "colour"), truth(scene))
    assert judge.update(truth(scene, 1.0, object_xyz=on_pad)).success
    judge = Judge(Task("push", "", 0, None, "pad", "colour"), truth(scene))
    judge.update(truth(scene, 0.5, object_xyz=moved(scene, 0, [0.3, 0.0, 0.05])))
    assert not judge.update(truth(scene, 1.0, object_xyz=on_pad)).success


def test_a_touch_is_closed_fingers_on_top_for_a_while_without_moving_the_thing() -> None:
    scene = table()
    on = np.array([0.25, -0.15, 2 * 0.014 + TIP_M])

    def verdict(gripper: float = 0.0, xyz: np.ndarray = on, **changes: np.ndarray) -> bool:
        judge = Judge(Task("touch", "", 0, None, None, "colour"), truth(scene))
        for tick in range(12):
            judge.update(truth(scene, 0.02 * tick, xyz=xyz, gripper=gripper, **changes))
        return judge.update(truth(scene, 0.24, xyz=xyz, gripper=gripper, **changes)).ever_success

    assert verdict()
    assert not verdict(gripper=0.5)
    assert not verdict(xyz=on + np.array([0, 0, 0.02])) and not verdict(
        xyz=on + np.array([0.02, 0, 0])
    )
    assert not verdict(object_xyz=moved(scene, 0, [0.28, -0.15, 0.014]))


def test_touching_is_drawn_only_where_it_is_asked_for() -> None:
    drawn = {sample_task(sample_scene(s), np.random.default_rng(s)).family for s in range(80)}
    assert drawn == {"pick", "put", "push"}
    task = sample_task(sample_scene(0), np.random.default_rng(0), "touch")
    assert task.family == "touch" and task.destination is None
