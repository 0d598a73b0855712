"""Files that nobody means well with: each is refused in one sentence, with bounded time and memory."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_files import ROUNDS, corrupted, refusal, special, vla
from pi0_folders import GOLDEN, policy_file

from vla_policy.check.checkpoint import check_checkpoint
from vla_policy.formats import describe
from vla_policy.formats.policy_file import read_policy_file
from vla_policy.paths import weights_dir
from vla_policy.policy import load_policy


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
