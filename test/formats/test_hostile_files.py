"""Files that nobody means well with: each is refused in one sentence, with bounded time and memory."""

import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pi0_folders import GOLDEN, policy_file

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.check.robot_model import read_model
from vla_policy.data.shards import read_shard, write_shard
from vla_policy.embodiment import load_embodiment
from vla_policy.formats import describe
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.parsing.fields import NAME, Place, number, read_yaml, text
from vla_policy.parsing.model_file import read_model_xml
from vla_policy.paths import config_dir, weights_dir
from vla_policy.policy import load_policy

ROBOT = (config_dir() / "embodiments" / "vx300s.yaml").read_text()
MEMORY = 4 << 30  # of address space; the interpreter with torch takes two
SECONDS = 60
DOUBLED = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def vla(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`vla` with little memory and little time."""
    return subprocess.run(
        [sys.executable, "-m", "vla_policy.cli", *map(str, arguments)],
        capture_output=True, text=True, timeout=SECONDS, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip


def refusal(call: Callable[[], object]) -> str:
    """The sentence with which call refuses."""
    with pytest.raises((ValueError, OSError)) as refused:
        call()
    sentence = str(refused.value)
    assert len(sentence) < 2000 and "\n" not in sentence, sentence
    return sentence


def with_number(form: str) -> str:
    lines = [f"  engage_fade_s: {form}" if "engage_fade_s:" in n else n for n in ROBOT.split("\n")]
    return "\n".join(lines)


def special(path: Path, kind: str) -> Path:
    """A file that is none: a pipe, a device, a folder, a loop of links, nothing."""
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path.name)
    return path


SPECIAL = {
    "pipe": "got a pipe, expected a file",
    "device": "got a device, expected a file",
    "folder": "got a folder, expected a file",
    "loop": "Too many levels of symbolic links",
    "nothing": "No such file",
}
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


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return Path(shutil.copytree(weights_dir() / "tiny", tmp_path / "tiny"))


def edited(*keys: str, to: object) -> Callable[[bytes], bytes]:
    def edit(data: bytes) -> bytes:
        content = json.loads(data)
        at = content
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to
        return json.dumps(content).encode()

    return edit


def header(change: Callable[[dict], object]) -> Callable[[bytes], bytes]:
    """A safetensors file with another header."""

    def edit(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        content = json.loads(data[8 : 8 + length])
        change(content)
        text_ = json.dumps(content).encode()
        return struct.pack("<Q", len(text_)) + text_ + data[8 + length :]

    return edit


def _overlap(content: dict) -> None:
    first, second = [name for name in content if name != "__metadata__"][:2]
    content[second] = content[first]


NESTED = b"[" * 100_000
FOLDER = {
    "nested config": ("config.json", lambda d: b'{"a":' + NESTED, "nested too deep"),
    "nested below": ("config.json", lambda d: b'{"a":' + b"[" * 60 + b"]" * 60 + b"}", "nested too deep"),
    "a key twice": ("config.json", lambda d: d.replace(b"{", b'{"format": 1, ', 1), "'format' is there twice"),
    "a long number": ("config.json", lambda d: b'{"format": 1' + b"0" * 9000 + b"}", "digits"),
    "not an object": ("config.json", lambda d: b"[]", "expected a JSON object"),
    "large": ("config.json", lambda d: b" " * (9 << 20) + d, "expected at most 8,388,608"),
    "not UTF-8": ("config.json", lambda d: b"\xff\xfe" + d, "expected UTF-8 text"),
    "empty": ("config.json", lambda d: b"", "not valid JSON"),
    "a name with a line end": ("config.json", edited("contract", "camera_names", to=["front\n", "wrist"]), "camera_names"),
    "rate": ("config.json", edited("contract", "policy_hz", to=float("inf")), "policy_hz"),
    "statistics": ("statistics.json", edited("state", "lower", to=["0"] * 8), "expected a number"),
    "statistics without end": ("statistics.json", edited("actions", "upper", to=[float("inf")] * 8), "expected"),
    "tokenizer": ("tokenizer.json", lambda d: b"{}", "not a readable tokenizer"),
    "nested tokenizer": ("tokenizer.json", lambda d: NESTED, "not a readable tokenizer"),
    "another tokenizer": ("tokenizer.json", lambda d: d.replace(b"<act000>", b"<cat000>"), "<act000>"),
    "nested header": ("model.safetensors", lambda d: struct.pack("<Q", len(NESTED)) + NESTED, "nested too deep"),
    "long header": ("model.safetensors", lambda d: struct.pack("<Q", 1 << 62) + d[8:], "header"),
    "one over the other": ("model.safetensors", header(_overlap), "tensors lie end to end"),
    "metadata": ("model.safetensors", header(lambda c: c.update(__metadata__={"a": {}})), "__metadata__"),
    "text as a size": ("model.safetensors", header(lambda c: c.update(x={"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]})), "not a readable tensor"),
}  # fmt: skip
SIZES = {
    "flow.rows": ("flow", "rows"), "flow.steps": ("flow", "steps"), "token.rows": ("token", "rows"),
    "token.bins": ("token", "bins"), "depth": ("language", "depth"), "width": ("language", "width"),
    "heads": ("language", "heads"), "head_dim": ("language", "head_dim"), "mlp": ("language", "mlp"),
    "vocab": ("vocab",), "cameras": ("cameras",), "max_text": ("max_text",), "state_dim": ("state_dim",),
    "action_dim": ("action_dim",), "arms": ("arms",), "image_px": ("vision", "image_px"),
    "text_depth": ("vision", "text_depth"), "key_width": ("vision", "key_width"),
}  # fmt: skip


def refused_by_all(folder: Path, words: str, file: Path) -> None:
    sentence = refusal(lambda: load_policy(str(folder)))
    assert words in sentence and str(file) in sentence, sentence


@pytest.mark.parametrize("name", FOLDER)
def test_checkpoint_folders(tiny: Path, name: str) -> None:
    file, change, words = FOLDER[name]
    path = tiny / file
    path.write_bytes(change(path.read_bytes()))
    refused_by_all(tiny, words, path)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [1_000_000_000, 0, -1])
def test_sizes_are_refused_before_anything_has_them(tiny: Path, name: str, size: int) -> None:
    if (name, size) == ("state_dim", 0):
        pytest.skip("a model without a state is one")
    path = tiny / "config.json"
    path.write_bytes(edited("model", *SIZES[name], to=size)(path.read_bytes()))
    refused_by_all(tiny, f"{SIZES[name][-1]}: got {size}, expected", path)


@pytest.mark.slow
def test_a_large_size_is_refused_with_little_memory(tiny: Path) -> None:
    path = tiny / "config.json"
    path.write_bytes(edited("model", "flow", "rows", to=1_000_000_000)(path.read_bytes()))
    said = vla("inspect", tiny)
    assert said.returncode == 1 and "Traceback" not in said.stderr, said.stderr
    assert "flow.rows: got 1000000000, expected 1 to 1000" in said.stderr


@pytest.mark.parametrize("file", ["config.json", "statistics.json", "tokenizer.json", "model.safetensors"])  # fmt: skip
@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "loop"])
def test_what_is_no_file_in_a_folder(tiny: Path, file: str, kind: str) -> None:
    (tiny / file).unlink()
    special(tiny / file, kind)
    refusal(lambda: load_policy(str(tiny)))


SHARDS = {
    "elsewhere": ("../other.safetensors", "expected a name in the same folder"),
    "absolute": ("/etc/passwd", "expected a name in the same folder"),
    "of very many": ("model-00001-of-99999999.safetensors", "no weights at"),
    "a pickle": ("model.bin", "a pickle file can run code"),
    "a zero byte": ("model\0.safetensors", "expected a name in the same folder"),
    "a number": (3, "got no weight_map"),
}


@pytest.mark.parametrize("name", SHARDS)
def test_shards(tiny: Path, name: str) -> None:
    shard, words = SHARDS[name]
    (tiny / "model.safetensors").unlink()
    index = tiny / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": shard}}))
    assert words in refusal(lambda: load_policy(str(tiny)))


def test_more_shards_than_there_can_be(tiny: Path) -> None:
    (tiny / "model.safetensors").unlink()
    index = tiny / "model.safetensors.index.json"
    listed = {f"t{i}": f"model-{i:05d}-of-99999.safetensors" for i in range(5000)}
    index.write_text(json.dumps({"weight_map": listed}))
    assert "got 5000 files, expected at most" in refusal(lambda: load_policy(str(tiny)))


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


def test_shards_of_training(tmp_path: Path) -> None:
    arrays = {"state": np.zeros((2, 3), np.float32)}
    write_shard(tmp_path / "shard", arrays, [["a"], ["b"]], {})
    good = (tmp_path / "shard" / "state.npy").read_bytes()
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    for data in (
        b"",
        good[:40],
        good.replace(b"(2, 3)", b"(9, 9)"),
        objects.read_bytes(),
        b"\0" * 99,
    ):
        (tmp_path / "shard" / "state.npy").write_bytes(data)
        assert "state.npy: not a readable array" in refusal(lambda: read_shard(tmp_path / "shard"))
    (tmp_path / "shard" / "state.npy").write_bytes(good)
    for text_ in ("{}", "[[1]]", "[" * 99_999):
        (tmp_path / "shard" / "texts.json").write_text(text_)
        assert "texts.json" in refusal(lambda: read_shard(tmp_path / "shard"))


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


VALUES = (None, True, 0, -1, 10**30, 1e308, "x", "", [], {}, [[]], "a\nb", ["x"], {"a": 1}, 0.5, float("nan"))  # fmt: skip
ROUNDS = int(os.environ.get("VLA_POLICY_CORRUPTIONS", "12"))  # of each file; 300 find what is rare


def keys_of(value: object, path: tuple = ()) -> list[tuple]:
    found = [path]
    if isinstance(value, dict):
        for key, below in value.items():
            found += keys_of(below, (*path, key))
    elif isinstance(value, list):
        for i, below in enumerate(value[:3]):
            found += keys_of(below, (*path, i))
    return found


def corrupted(data: bytes, rng: random.Random, *, fields: bool) -> bytes:
    """One byte, or one field of JSON, is another."""
    if not fields or rng.random() < 0.3:
        changed = bytearray(data)
        changed[rng.randrange(min(len(data), 20_000))] = rng.randrange(256)
        return bytes(changed)
    content = json.loads(data)
    path = rng.choice(keys_of(content)[1:])
    at = content
    for key in path[:-1]:
        at = at[key]
    if isinstance(at, dict) and rng.random() < 0.2:
        del at[path[-1]]
    else:
        at[path[-1]] = rng.choice(VALUES)
    return json.dumps(content).encode()


def readers(path: Path) -> tuple[Callable[[], object], ...]:
    def inspect() -> object:
        file = None if path.is_dir() else read_policy_file(path)
        return describe.describe(path, path if file is None else file.checkpoint, file, None)

    return (
        lambda: load_policy(str(path), engine="off"),
        lambda: check_checkpoint(str(path)),
        inspect,
    )


def read_or_refused(path: Path, what: str) -> None:
    for read in readers(path):
        try:
            read()
        except (ValueError, OSError) as error:
            assert len(str(error)) < 4000, what
        except Exception as error:
            raise AssertionError(what) from error


@pytest.mark.parametrize("file", ["config.json", "statistics.json", "tokenizer.json", "model.safetensors"])  # fmt: skip
def test_any_corruption_of_a_shipped_checkpoint_is_read_or_refused(tiny: Path, file: str) -> None:
    rng, path = random.Random(file), tiny / file
    data = path.read_bytes()
    for i in range(ROUNDS):
        path.write_bytes(changed := corrupted(data, rng, fields=file.endswith("s.json") or file.startswith("config")))  # fmt: skip
        read_or_refused(tiny, f"{file}, corruption {i}: {changed[:3000]!r}")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pi0", "pi05"])
def test_any_corruption_of_a_lerobot_folder_is_read_or_refused(tmp_path: Path, kind: str) -> None:
    folder = Path(shutil.copytree(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "ckpt"))
    file = policy_file(tmp_path, folder, embodiments=["vx300s"])
    rng = random.Random(kind)
    small = sorted([*folder.glob("*.json"), *folder.glob("policy_*.safetensors"), file])
    for path in small:
        data = path.read_bytes()
        for i in range(ROUNDS):
            path.write_bytes(corrupted(data, rng, fields=path.suffix == ".json"))
            read_or_refused(file, f"{path.name}, corruption {i}: {path.read_bytes()[:3000]!r}")
        path.write_bytes(data)


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
