"""Every fact has one owner: what says it is found in one module, and the others import it from there."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "vla_policy"
SOURCES = {
    path.relative_to(PACKAGE).as_posix(): path.read_text() for path in PACKAGE.rglob("*.py")
}
# fact -> (the module that says it, what saying it looks like)
OWNERS = {
    "message type of an output": (
        "ros/bringup/endpoints.py",
        r'"joint_trajectory": "trajectory_msgs',
    ),
    "outputs that are goals": (
        "embodiment/spaces.py",
        r'\("gripper_command", "parallel_gripper_command"\)',
    ),
    "names below shadow/": ("ros/bringup/endpoints.py", r'f"shadow/'),
    "what an instruction may be": ("runtime/instruction.py", r"MAX_CHARACTERS = |has no word\""),
    "colours": ("sim/scenes/scene.py", r"^COLOURS = \("),
    "shapes": ("sim/scenes/scene.py", r'"cube", "cylinder", "ball"\)'),
    "columns of a pose": (
        "embodiment/spaces.py",
        r'"qx", "qy", "qz"|"ee\.qx"|ee\.qx, ee\.qy|\*POSITION, \*ROTATIONS\["quaternion',
    ),
    "RT-2's columns": ("families/tool_steps.py", r'"dx", "dy", "dz", "drx"'),
    "RT-2's largest steps": (
        "families/tool_steps.py",
        r"^STEP_M\b.* = 0\.04|step_m: 0\.04, .*tokens: rare\}\"|-0\.04, -0\.04",
    ),
    "ends of a normaliser in a file": (
        "checkpoint/statistics.py",
        r'"names", "lower", "upper"|"lower": \w+\.lower',
    ),
    "names of tensors, there and here": (
        "formats/tensors/naming.py",
        r"def (ours|theirs)\(self|def canonical\(|\\\.mlp\\\.fc",
    ),
    "tolerance of a quaternion's norm": (
        "geometry/rotation_formats.py",
        r"QUATERNION_TOLERANCE = |1\.0\) <= 0\.05",
    ),
    "when an arm is at rest": ("execution/replanning.py", r"^SETTLE_NS = 200_000_000"),
    "how a JPEG is made": ("runtime/images.py", r"IMWRITE_JPEG|imencode\(\"\.jpg"),
    "a joint out of its range": ("runtime/plausibility.py", r"its limits are \{"),
    "layout of a shard": (
        "data/shards.py",
        r'shard_\{|"texts\.json"|"\*\*/(front\.npy|meta\.json)"|= "\.partial"',
    ),
    "what makes a chunk no action": (
        "execution/to_absolute.py",
        r'"chunk_names"|"chunk_step"|"chunk_not_finite"|"chunk_quaternion"',
    ),
    "how long controllers go on alone": ("embodiment/spaces.py", r"^\w*TIMEOUT_NS = "),
    "axes of a place": ("embodiment/spaces.py", r'\("x", "y", "z"[,)]'),
    "numbers of ROS domains": ("check/doctor/domains.py", r"\b232\b|\b101\b"),
    "nanoseconds of a second": ("timing.py", r"NS_PER_S = 1_000_000_000"),
    "which ROS domain is chosen": (
        "check/doctor/domains.py",
        r'"ROS_DOMAIN_ID"|"ROS_AUTOMATIC_DISCOVERY_RANGE"|"ROS_LOCALHOST_ONLY"',
    ),
    "who may hear a process": ("check/doctor/domains.py", r'"LOCALHOST"\)'),
    "type of an array": ("types.py", r"^Array = np\.ndarray"),
}


def says(pattern: str, sources: dict[str, str]) -> list[str]:
    return sorted(n for n, text in sources.items() if re.search(pattern, text, re.MULTILINE))


@pytest.mark.parametrize("fact", OWNERS)
def test_a_fact_is_said_in_one_module(fact):
    owner, pattern = OWNERS[fact]
    assert says(pattern, SOURCES) == [owner], f"{fact}: import it from {owner}"


def test_a_second_owner_is_found():
    copied = {**SOURCES, "ros/copy.py": "NS_PER_S = 1_000_000_000\n"}
    assert says(OWNERS["nanoseconds of a second"][1], copied) == ["ros/copy.py", "timing.py"]


def test_a_name_of_a_class_is_one_class():
    classes: dict[str, list[str]] = {}
    for path, text in SOURCES.items():
        for name in re.findall(r"^class (\w+)", text, re.M):
            classes.setdefault(name, []).append(path)
    assert {name: paths for name, paths in classes.items() if len(paths) > 1} == {}
