"""Folders written as other projects', and back, bit for bit; what `vla inspect` says about them."""

import filecmp
import json
from pathlib import Path

import numpy as np
import pi0_folders as folders
import pytest
import torch
from safetensors.torch import load_file, save_file

from vla_policy import cli
from vla_policy.formats.conversion.convert import convert
from vla_policy.formats.conversion.portable import read_lerobot
from vla_policy.formats.conversion.write import write_vla
from vla_policy.formats.policy_file import Heads
from vla_policy.formats.tensors.safetensors_file import read, read_header, tensor_bytes, write
from vla_policy.policy import load_policy

HERE = Path(__file__).parents[1]
GOLDEN = HERE / "golden"
KINDS = ("pi0", "pi05")
HEADS = ["--heads", "8", "1", "4"]


def same_tensors(a: Path, b: Path) -> bool:
    """The same names, dtypes and bits."""
    x, y = load_file(a), load_file(b)
    return set(x) == set(y) and all(
        x[k].dtype == y[k].dtype and torch.equal(x[k].view(torch.uint8), y[k].view(torch.uint8))
        for k in x
    )


@pytest.mark.parametrize("kind", KINDS)
def test_lerobot_to_ours_and_back_is_the_same_folder(kind: str, tmp_path: Path) -> None:
    golden = GOLDEN / f"ckpt_{kind}_tiny"
    path = folders.policy_file(tmp_path, golden)
    convert(path, tmp_path / "own", "vla")
    convert(tmp_path / "own", tmp_path / "back", "lerobot")
    names = {p.name for p in golden.iterdir()} - {"expected.safetensors"}
    assert {p.name for p in (tmp_path / "back").iterdir()} == names
    for name in names:
        assert filecmp.cmp(golden / name, tmp_path / "back" / name, shallow=False), name


@pytest.mark.parametrize("kind", KINDS)
def test_a_converted_folder_acts_the_same(kind: str, tmp_path: Path) -> None:
    path = folders.policy_file(
        tmp_path, GOLDEN / f"ckpt_{kind}_tiny", compatibility=folders.LEROBOT
    )
    convert(path, tmp_path / "own", "vla")
    a, b = load_policy(str(path)), load_policy(str(tmp_path / "own"))
    assert (a.contract, a.checkpoint.settings) == (b.contract, b.checkpoint.settings)
    seen = folders.observation()
    np.testing.assert_array_equal(a.infer(seen, seed=3).actions, b.infer(seen, seed=3).actions)


@pytest.mark.parametrize("kind", KINDS)
def test_openpi_to_ours_to_lerobot_to_openpi_keeps_every_bit(kind: str, tmp_path: Path) -> None:
    source = folders.as_openpi(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "openpi")
    stats = source / "assets" / "trossen" / "norm_stats.json"
    data = json.loads(stats.read_text())
    data["norm_stats"]["state"]["mean"][0] += 1e-9  # what float32 does not hold
    stats.write_text(json.dumps(data))
    path = folders.policy_file(tmp_path, source, cameras=folders.OPENPI_CAMERAS)
    convert(path, tmp_path / "own", "vla")
    convert(tmp_path / "own", tmp_path / "back", "openpi")
    assert same_tensors(source / "model.safetensors", tmp_path / "back" / "model.safetensors")
    assert filecmp.cmp(stats, tmp_path / "back/assets/trossen/norm_stats.json", shallow=False)

    convert(path, tmp_path / "lerobot", "lerobot")
    second = tmp_path / "second"
    second.mkdir()
    there = folders.policy_file(second, tmp_path / "lerobot", cameras=folders.OPENPI_CAMERAS)
    convert(there, tmp_path / "again", "openpi")
    assert same_tensors(source / "model.safetensors", tmp_path / "again" / "model.safetensors")
    again = json.loads((tmp_path / "again/assets/converted/norm_stats.json").read_text())
    assert again == data
    square = np.random.default_rng(0).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    seen = folders.observation(
        images={"front": square, "hand": square}, instruction="pick up the cube"
    )
    a, b = (load_policy(str(p)).infer(seen, seed=0).actions for p in (path, there))
    np.testing.assert_allclose(a, b, atol=2e-4)  # their small numbers beside the divisors differ


def test_what_no_model_reads_can_be_left_out(tmp_path: Path) -> None:
    path = folders.policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny")
    convert(path, tmp_path / "own", "vla", keep_unread=False)
    assert not (tmp_path / "own" / "unread.safetensors").exists()
    convert(tmp_path / "own", tmp_path / "back", "lerobot")
    unread = "model.paligemma_with_expert.gemma_expert.lm_head.weight"
    back = load_file(tmp_path / "back" / "model.safetensors")
    assert not back[unread].any()  # lerobot's loader wants it to be there
    golden = load_file(GOLDEN / "ckpt_pi0_tiny" / "model.safetensors")
    assert set(back) == set(golden)


def test_bfloat16_stays_bfloat16(tmp_path: Path) -> None:
    folder = folders.copied(tmp_path, "pi0")
    weights = load_file(folder / "model.safetensors")
    save_file({k: v.bfloat16() for k, v in weights.items()}, folder / "model.safetensors")
    convert(folders.policy_file(tmp_path, folder), tmp_path / "own", "vla")
    assert {v.dtype for v in load_file(tmp_path / "own/model.safetensors").values()} == {torch.bfloat16}  # fmt: skip
    convert(tmp_path / "own", tmp_path / "back", "lerobot")
    assert same_tensors(folder / "model.safetensors", tmp_path / "back" / "model.safetensors")
    policy = load_policy(str(tmp_path / "own"))
    kept = policy.checkpoint.model.flow.action_in_proj.weight.dtype
    assert (policy.checkpoint.model.language.norm.weight.dtype, kept) == (torch.float32,) * 2
    assert np.isfinite(policy.infer(folders.observation(), seed=0).actions).all()


def test_refusals_leave_nothing_half_made(tmp_path: Path) -> None:
    golden, made = GOLDEN / "ckpt_pi05_tiny", tmp_path / "made"

    def refuse(source: Path, to: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            convert(source, made, to)
        assert not made.exists()

    damaged = folders.copied(tmp_path, "pi05")
    weights = load_file(damaged / "model.safetensors")
    left = {k: v for k, v in weights.items() if k != "model.time_mlp_out.bias"}
    save_file(left, damaged / "model.safetensors")
    for to in ("vla", "lerobot", "openpi"):
        refuse(folders.policy_file(tmp_path, damaged), to, r"missing    time_mlp_out\.bias")
    save_file(weights, damaged / "model.safetensors")
    for name in ("config.json", "policy_preprocessor.json", "policy_postprocessor.json"):
        text = (damaged / name).read_text().replace("QUANTILES", "MEAN_STD")
        (damaged / name).write_text(text)
    path = folders.policy_file(tmp_path, damaged)
    refuse(path, "openpi", "openpi normalises pi05 by quantiles only")
    refuse(HERE.parent / "vla_policy" / "weights" / "tiny", "openpi", "a tiny model; only pi0")
    with pytest.raises(ValueError, match="says which robot it fits"):
        portable = read_lerobot(golden, None, Heads(8, 1, 4))
        write_vla(made, portable)
    assert not made.exists()
    made.mkdir()
    (made / "x").write_text("")
    with pytest.raises(ValueError, match="is there already and not empty"):
        convert(folders.policy_file(tmp_path, golden), made, "vla")
    assert (made / "x").exists()


def test_inspect_says_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = GOLDEN / "ckpt_pi0_tiny"
    path = folders.policy_file(tmp_path, golden)
    assert cli.main(["convert", str(path), str(tmp_path / "own"), "--to", "vla"]) == 0
    for target in (path, tmp_path / "own"):
        assert cli.main(["inspect", str(target)]) == 0
        said = capsys.readouterr().out
        for part in (
            "285,040 parameters", "for golden at 10 Hz", "sees front, hand and joint.j0",
            "arm in joint_position", "state by mean std", "gripper           mean     0.3375",
        ):  # fmt: skip
            assert part in said, part
    assert cli.main(["inspect", str(golden), *HEADS]) == 0
    assert "not said: which robot cameras" in capsys.readouterr().out
    assert cli.main(["inspect", str(tmp_path)]) == 1


def test_the_printed_policy_file_is_a_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = GOLDEN / "ckpt_pi0_tiny"
    assert cli.main(["inspect", str(golden), "--policy-file"]) == 0
    printed = capsys.readouterr().out
    tokenizer = folders.characters(tmp_path / "tokenizer.json")
    path = tmp_path / "mine.yaml"
    path.write_text(
        printed.replace("~/paligemma/tokenizer.model", str(tokenizer))
        + "heads: {language: 8, kv: 1, vision: 4}\n"
    )
    assert load_policy(str(path)).contract.camera_names == ("my_camera_0", "my_camera_1")


def test_tensor_files_written_are_read_by_the_library(tmp_path: Path) -> None:
    tensors = {
        "a": torch.randn(3, 5), "b": torch.randn(7).bfloat16(), "c": torch.arange(4), "d": torch.zeros(0, 2),
        "e": torch.tensor(1.5), "f": torch.tensor([True, False]),
    }  # fmt: skip
    path = tmp_path / "t.safetensors"
    shapes = {k: (v.dtype, tuple(v.shape)) for k, v in tensors.items()}
    write(path, shapes, (tensor_bytes(v) for v in tensors.values()), {"who": "me"})
    assert all(torch.equal(v, tensors[k]) for k, v in load_file(path).items())
    entries, metadata = read_header(path)
    assert metadata == {"who": "me"}
    assert all(torch.equal(read(e), tensors[k]) for k, e in entries.items())
    with pytest.raises(ValueError, match="a: got 4 bytes, expected 60"):
        write(path, {"a": shapes["a"]}, [[b"1234"]])
    assert all(
        torch.equal(v, tensors[k]) for k, v in load_file(path).items()
    )  # still the old file


@pytest.mark.parametrize(
    "content", [b"", b"\x02", b"\xff" * 40, b"\x02\0\0\0\0\0\0\0[]", b"\x10\0\0\0\0\0\0\0{\"a\": {\"dtype\"", b"\x02\0\0\0\0\0\0\0{}x"]
)  # fmt: skip
def test_what_is_not_safetensors_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"not a readable safetensors file|longer than its header"
    ):
        read_header(path)


def test_a_policy_file_for_openpi_starts_with_its_slots(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folders.as_openpi(GOLDEN / "ckpt_pi0_tiny", tmp_path / "openpi")
    assert cli.main(["inspect", str(folder), "--policy-file"]) == 0
    said = capsys.readouterr().out
    assert "  base_0_rgb: my_camera_0" in said and said.count("# 7 names, in its order") == 2


def test_inspect_takes_the_names_of_shipped_policies(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "tiny"]) == 0
    assert "a folder of this project" in capsys.readouterr().out
    assert cli.main(["inspect", "tinny"]) == 1
    assert "policy 'tinny': no folder and no policy file" in capsys.readouterr().err
