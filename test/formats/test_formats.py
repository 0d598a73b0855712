"""The forms in which lerobot and openpi have written pi0 and pi0.5, and the policy files beside them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pi0_folders import (
    GOLDEN,
    KINDS,
    OPENPI_CAMERAS,
    as_older_lerobot,
    as_openpi,
    copied,
    observation,
    policy_file,
)
from safetensors.torch import load_file, save_file

from vla_policy.families import pi0
from vla_policy.formats.foreign import lerobot, openpi
from vla_policy.formats.policy_file import Heads
from vla_policy.formats.tensors import pi0_names
from vla_policy.policy import load_policy


@pytest.mark.parametrize("kind", KINDS)
def test_openpi_folders_say_the_same(kind: str, tmp_path: Path) -> None:
    folder = as_openpi(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "openpi")
    square = np.random.default_rng(0).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    seen = observation(images={"front": square, "hand": square}, instruction="pick up the cube")
    there = load_policy(str(policy_file(tmp_path, GOLDEN / f"ckpt_{kind}_tiny"))).infer(
        seen, seed=0
    )
    path = policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)
    chunk = load_policy(str(path)).infer(seen, seed=0)
    # openpi's 1e-6 beside the divisors is all that differs
    np.testing.assert_allclose(chunk.actions, there.actions, atol=2e-4)


def test_older_names_load_too(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi0")
    before = load_policy(str(policy_file(tmp_path, folder))).infer(observation(), seed=0).actions
    weights = load_file(folder / "model.safetensors")
    stem = "model." + pi0_names.WRAPPER
    older = {
        k.replace(stem + "paligemma.model.language_model.", stem + "paligemma.language_model.model.")
        .replace(stem + "paligemma.lm_head.", stem + "paligemma.language_model.lm_head.")
        .replace(stem + "paligemma.model.vision_tower.", stem + "paligemma.vision_tower.")
        .replace(stem + "paligemma.model.multi_modal", stem + "paligemma.multi_modal"): v
        for k, v in weights.items()
    }  # fmt: skip
    assert set(older) != set(weights)
    save_file(older, folder / "model.safetensors")
    after = load_policy(str(policy_file(tmp_path, folder))).infer(observation(), seed=0).actions
    np.testing.assert_array_equal(after, before)


def test_shards(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi0")
    path = policy_file(tmp_path, folder)
    before = load_policy(str(path)).infer(observation(), seed=0).actions
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({k: weights[k] for k in keys}, folder / file)
    (folder / "model.safetensors").unlink()
    index = {k: file for file, keys in parts.items() for k in keys}
    index_path = folder / "model.safetensors.index.json"
    index_path.write_text(json.dumps({"weight_map": index}))
    np.testing.assert_array_equal(
        load_policy(str(path)).infer(observation(), seed=0).actions, before
    )
    index_path.write_text(json.dumps({"weight_map": index | {names[0]: "b.safetensors"}}))
    with pytest.raises(ValueError, match="1 tensors are not where it says"):
        load_policy(str(path))
    index_path.write_text(json.dumps({"weight_map": index | {"x": "c.bin"}}))
    with pytest.raises(ValueError, match=r"c\.bin: a pickle file can run code"):
        load_policy(str(path))


def test_statistics_are_found_by_the_step_that_names_them(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi0")
    path = next(folder.glob("*_normalizer_*.safetensors"))
    path.rename(folder / "elsewhere.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*step_5"):
        lerobot.read_folder(folder, heads=Heads(8, 1, 4))
    text = (folder / "policy_preprocessor.json").read_text()
    (folder / "policy_preprocessor.json").write_text(
        text.replace(path.name, "elsewhere.safetensors")
    )
    found = lerobot.read_folder(folder, heads=Heads(8, 1, 4))
    assert found.state.mode == "mean_std"


def test_statistics_among_the_weights_of_older_folders(tmp_path: Path) -> None:
    square = np.random.default_rng(0).integers(0, 255, (56, 56, 3), dtype=np.uint8)
    seen = observation(images={"front": square, "hand": square})
    folder = copied(tmp_path, "pi0")
    before = load_policy(str(policy_file(tmp_path, folder))).infer(seen, seed=0).actions
    as_older_lerobot(folder)
    policy = load_policy(str(policy_file(tmp_path, folder)))
    np.testing.assert_allclose(policy.infer(seen, seed=0).actions, before, atol=1e-5)
    wide = pi0.prepare(policy.checkpoint, "flow", observation()).images[0, 1]
    assert (wide[:, :16] == -1).all() and (wide[:, 16:] != -1).any()  # in the lower corner
    weights = load_file(folder / "model.safetensors")
    name = "unnormalize_outputs.buffer_action.std"
    save_file(weights | {name: torch.full((7,), torch.inf)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match="std inf, not finite"):
        load_policy(str(policy_file(tmp_path, folder)))
    left = {k: v for k, v in weights.items() if "unnormalize" not in k}
    save_file(left, folder / "model.safetensors")
    with pytest.raises(ValueError, match="no statistics of 'action' under unnormalize_outputs"):
        load_policy(str(policy_file(tmp_path, folder)))


def test_a_processing_step_that_is_not_known_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi0")
    path = folder / "policy_postprocessor.json"
    data = json.loads(path.read_text())
    data["steps"].insert(0, {"registry_name": "clamp_actions", "config": {}})
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="the step 'clamp_actions', which is not"):
        load_policy(str(policy_file(tmp_path, folder)))


def test_openpi_statistics_are_chosen_by_name(tmp_path: Path) -> None:
    folder = as_openpi(GOLDEN / "ckpt_pi0_tiny", tmp_path / "openpi", asset="trossen")
    shutil.copytree(folder / "assets" / "trossen", folder / "assets" / "lab" / "droid")
    assert set(openpi.assets(folder)) == {"trossen", "lab/droid"}
    with pytest.raises(ValueError, match="say which as `statistics`"):
        load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)))
    with pytest.raises(ValueError, match="no statistics of 'aloha'; there are lab/droid, trossen"):
        load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS, statistics="aloha")))
    load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS, statistics="lab/droid")))
    shutil.rmtree(folder / "assets")
    (folder / "assets").mkdir()
    with pytest.raises(ValueError, match="no statistics: there is no assets"):
        load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)))
    (folder / "config.json").unlink()
    with pytest.raises(ValueError, match="say `rows` in the policy file"):
        load_policy(str(policy_file(tmp_path, folder, cameras=OPENPI_CAMERAS)))


def test_a_dimension_that_never_moved_can_be_declared(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi05")
    path = next(folder.glob("*_unnormalizer_*.safetensors"))
    stats = load_file(path)
    stats["action.q01"][6] = stats["action.q99"][6] = 0.25
    save_file(stats, path)
    policy = load_policy(str(policy_file(tmp_path, folder, constant=["gripper"])))
    assert (policy.infer(observation(), seed=0).actions[:, 6] == 0.25).all()


def test_a_foreign_folder_alone_is_not_a_policy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not say which robot cameras.*vla inspect"):
        load_policy(str(GOLDEN / "ckpt_pi0_tiny"))


def test_slips_in_a_policy_file_are_named(tmp_path: Path) -> None:
    golden = GOLDEN / "ckpt_pi0_tiny"
    for changes, message in (
        ({"camera": {}}, "did you mean 'cameras'"),
        ({"policy_hz": 0}, "policy_hz: got 0, expected a number"),
        ({"compatibility": ["letterbox"]}, "did you mean 'letterbox_lerobot_0_4_4'"),
        ({"checkpoint": "/nowhere"}, "expected a folder that exists"),
        ({"constant": ["joint.j9"]}, "did you mean 'joint.j"),
        ({"cameras": {"base": "front", "wrist": "front"}}, "not there twice"),
        ({"heads": {"language": 8, "kv": 1.5, "vision": 4}}, "a whole number"),
        ({"embodiments": None}, "embodiments: got nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            load_policy(str(policy_file(tmp_path, golden, **changes)))
