"""Robot files and models of robots from anywhere: each is refused in one sentence, with bounded time and memory."""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import ROUNDS, SPECIAL, corrupted, refusal, special, vla
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vla_policy.check.robot_model import read_model
from vla_policy.embodiment import load_embodiment
from vla_policy.parsing.fields import NAME, Place, number, read_yaml, text
from vla_policy.parsing.model_file import read_model_xml
from vla_policy.paths import config_dir

ROBOT = (config_dir() / "embodiments" / "vx300s.yaml").read_text()


DOUBLED = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def with_number(form: str) -> str:
    lines = [f"  engage_fade_s: {form}" if "engage_fade_s:" in n else n for n in ROBOT.split("\n")]
    return "\n".join(lines)


YAML = {
    "nested lists": ("[" * 200_000, "nested too deep"),
    "nested mappings": ("{a: " * 3000, "nested too deep"),
    "doubled by aliases": (DOUBLED, "more than 50000 values"),
    "within itself": ("a: &a [*a]\n", "stands within what it repeats"),
    "two documents": (f"{ROBOT}\n---\n{ROBOT}", "expected a single document"),
    "a key twice": (f"{ROBOT}\nname: other\n", "'name' is there twice"),
    "a tag": ("!!python/object/apply:os.system [id]", "got the tag"),
    "a zero byte": (b"name: a\0b\n", "zero byte"),
    "latin 1": (b"name: caf\xe9\n", "the byte 0xe9"),
    "empty": ("", "expected a mapping"),
    "large": ("a: 1\n" * 400_000, "expected at most 524,288"),
    "a list as a key": ("? [a]\n: b\n", "expected a word"),
    "octal": (with_number("010"), "got '010', expected a number"),
    "sexagesimal": (with_number("1:30"), "got '1:30', expected a number"),
    "underscores": (with_number("1_0"), "got '1_0', expected a number"),
    "hexadecimal": (with_number("0x1"), "got '0x1', expected a number"),
    "yes": (with_number("yes"), "got 'yes', expected a number"),
    "infinite": (with_number(".inf"), "got '.inf', expected a number"),
    "not a number": (with_number(".nan"), "got '.nan', expected a number"),
    "beyond floats": (with_number("1e400"), "got inf, expected a number"),
    "long": (with_number("1" + "0" * 90), "expected a number"),
    "longer": (with_number("1" + "0" * 6000), "expected a number"),
    "line end in a name": (ROBOT.replace("name: vx300s", 'name: "vx300s\\n"'), "got 'vx300s\\n'"),
    "line end in a camera": (ROBOT.replace("  front:", '  "front\\n":'), "got 'front\\n'"),
    "no break space": (ROBOT.replace("name: vx300s", 'name: "vx300s\\xA0"'), "name: got"),
    "own topic": (ROBOT.replace("topic: target_pose", "topic: /control_status"), "/control_status belongs"),
    "own topic of a namespace": (ROBOT.replace("topic: target_pose", "topic: /a/action_chunk"), "belongs to"),
    "own service": (ROBOT.replace("topic: target_pose", "topic: /control/stop"), "belongs to"),
    "own topic as an input": (ROBOT.replace("topic: ee_pose", "topic: /tf"), "belongs to"),
}  # fmt: skip


@pytest.mark.parametrize("name", YAML)
def test_robot_files(tmp_path: Path, name: str) -> None:
    content, words = YAML[name]
    assert content != ROBOT, "the edit did nothing"
    file = tmp_path / "robot.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    sentence = refusal(lambda: load_embodiment(file))
    assert words in sentence and str(file) in sentence


@pytest.mark.parametrize("kind", SPECIAL)
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    file = special(tmp_path / "robot.yaml", kind)
    sentence = refusal(lambda: load_embodiment(file))
    assert SPECIAL[kind] in sentence and str(file) in sentence


@pytest.mark.parametrize("change", [lambda t: "\ufeff" + t, lambda t: t.replace("\n", "\r\n")])
def test_marks_and_line_ends_of_other_systems_are_read(tmp_path: Path, change: Callable) -> None:
    file = tmp_path / "robot.yaml"
    file.write_bytes(change(ROBOT).encode())
    assert load_embodiment(file).joint_names == load_embodiment("vx300s").joint_names


@pytest.mark.parametrize("name", ["nested lists", "doubled by aliases", "longer", "large"])
def test_the_command_says_so_with_little_memory_and_time(tmp_path: Path, name: str) -> None:
    content, words = YAML[name]
    file = tmp_path / "robot.yaml"
    file.write_text(content)
    said = vla("check", "embodiment", file)
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert words in said.stdout + said.stderr


XML = {
    "entities": ('<!DOCTYPE r [<!ENTITY a "b"><!ENTITY c "&a;&a;">]><robot name="&c;"/>', "got the entity"),
    "nested": ("<robot>" + "<link>" * 100_000, "nested too deep"),
    "many": ("<robot>" + "<link/>" * 200_000 + "</robot>", "more than 20,000 elements"),
    "not XML": ("<robot", "not XML"),
    "empty": ("", "not XML"),
    "another root": ("<html/>", "expected a URDF's <robot>"),
    "copies": ('<mujoco><worldbody><replicate count="1000000000"><geom size="1"/></replicate></worldbody></mujoco>', "count: got"),
    "copies of copies": ('<mujoco><worldbody><replicate count="9999"><replicate count="9999"><geom size="1"/></replicate></replicate></worldbody></mujoco>', "elements"),
    "a texture": ('<mujoco><asset><texture builtin="flat" width="99999" height="99999"/></asset></mujoco>', "values, expected at most"),
    "memory": ('<mujoco><size memory="999T"/></mujoco>', "memory: got"),
    "a mesh that is a device": ('<mujoco><asset><mesh file="/dev/zero"/></asset></mujoco>', "got a device"),
    "itself": ('<mujoco><include file="model.xml"/></mujoco>', "includes itself"),
    "a pipe within": ('<mujoco><include file="pipe"/></mujoco>', "got a pipe"),
    "a range in words": ('<robot><joint name="a" type="revolute"><limit lower="x"/></joint></robot>', "expected a number"),
    "a range without end": ('<robot><joint name="a" type="revolute"><limit lower="nan"/></joint></robot>', "expected a number"),
}  # fmt: skip


@pytest.mark.parametrize("name", XML)
def test_models_of_robots(tmp_path: Path, name: str) -> None:
    content, words = XML[name]
    os.mkfifo(tmp_path / "pipe")
    file = tmp_path / "model.xml"
    file.write_text(content)
    assert words in refusal(lambda: read_model(file))


def test_models_that_are_no_files(tmp_path: Path) -> None:
    for kind, words in SPECIAL.items():
        assert words in refusal(lambda k=kind: read_model_xml(special(tmp_path / f"{k}.urdf", k)))


def test_the_model_of_a_robot_is_read_with_bounds(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "robot.urdf")
    said = vla("check", "embodiment", "vx300s", "--model", tmp_path / "robot.urdf")
    assert said.returncode == 1 and "got a pipe" in said.stdout, said.stderr


@given(st.integers() | st.floats() | st.text() | st.booleans() | st.none())
def test_a_number_is_finite_and_within_its_ends(value: object) -> None:
    try:
        found = number(value, Place("robot.yaml"), -1.0, 1.0)
    except ValueError:
        return
    assert -1.0 <= found <= 1.0


@given(st.text())
def test_a_name_is_printable_and_has_no_space(value: str) -> None:
    try:
        found = text(value, Place("robot.yaml"), "a name", NAME)
    except ValueError as error:
        assert "\n" not in str(error)
        return
    assert found.isascii() and found.isprintable() and " " not in found


@given(st.text(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_as_yaml(tmp_path: Path, content: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        read_yaml(file)
    except ValueError as error:
        assert str(file) in str(error) and "\n" not in str(error)


@pytest.mark.slow
def test_any_corruption_of_a_shipped_robot_is_read_or_refused(tmp_path: Path) -> None:
    rng, file = random.Random(0), tmp_path / "robot.yaml"
    for i in range(20 * ROUNDS):
        file.write_bytes(data := corrupted(ROBOT.encode(), rng, fields=False))
        try:
            load_embodiment(file)
        except (ValueError, OSError) as error:
            assert len(str(error)) < 4000
        except Exception as error:
            raise AssertionError(f"corruption {i}: {data!r}") from error
