"""lerobot folders of pi0 and pi0.5: from a raw observation to robot units."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pi0_folders import GOLDEN, KINDS, LEROBOT, NAMES, observation, policy_file
from safetensors.torch import load_file

from vla_policy.families import pi0
from vla_policy.formats.load import load_checkpoint
from vla_policy.models.sampling import Sampling
from vla_policy.policy import load_policy
from vla_policy.types import Observation


@pytest.mark.parametrize("kind", KINDS)
def test_from_raw_observation_to_robot_units_as_lerobot_does(kind: str, tmp_path: Path) -> None:
    folder = GOLDEN / f"ckpt_{kind}_tiny"
    expected = load_file(folder / "expected.safetensors")
    path = policy_file(tmp_path, folder, compatibility=LEROBOT)
    checkpoint = load_checkpoint(path, device="cpu")
    inputs = pi0.inputs_of(
        checkpoint,
        {
            "front": expected["obs.observation.images.base"],
            "hand": expected["obs.observation.images.wrist"],
        },
        expected["obs.observation.state"].double().numpy(),
        json.loads((folder / "expected.json").read_text())["obs_task"],
    )
    mask = expected["batch.observation.language.attention_mask"]
    assert inputs.text[0].tolist() == expected["batch.observation.language.tokens"][mask].tolist()
    np.testing.assert_allclose(
        inputs.state[0, :7], expected["batch.observation.state"][0], atol=1e-6
    )
    with torch.no_grad():
        actions = pi0.actions_from(checkpoint, inputs, expected["noise"], Sampling(num_steps=10))
    np.testing.assert_allclose(actions[0, :, :7], expected["raw"][0], atol=5e-5)
    rows = pi0.restore(checkpoint, actions[0].double().numpy(), observation())
    np.testing.assert_allclose(rows.actions, expected["action"][0], atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_bugs_of_others_are_not_repeated_unasked(kind: str, tmp_path: Path) -> None:
    folder = GOLDEN / f"ckpt_{kind}_tiny"
    checkpoint = load_checkpoint(policy_file(tmp_path, folder), device="cpu")
    inputs = pi0.prepare(checkpoint, "flow", observation())
    wrist = inputs.images[0, 1]
    assert inputs.images.shape == (1, 2, 3, 56, 56)  # the absent third camera is not computed
    assert (
        (wrist[:, :8] == -1).all() and (wrist[:, 48:] == -1).all() and (wrist[:, 8:48] != -1).any()
    )
    if kind == "pi05":
        text = pi0.prompt("pick up the_cube\n", np.zeros(7), checkpoint.settings)
        assert text == f"Task: pick up the cube, State: {' '.join(['128'] * 7)};\nAction: "


def test_the_state_in_words_is_binned_as_in_openpi() -> None:
    settings = pi0.Pi0Settings(slots=(), state_in_words=True, state_words=3)
    text = pi0.prompt("go", np.array([-1.0, 0.999, 0.0]), settings)
    assert text == "Task: go, State: 0 255 128;\nAction: "
    assert pi0.prompt("a_b\n", np.zeros(2), pi0.Pi0Settings(slots=())) == "a b\n"


def test_pictures_keep_their_shape() -> None:
    picture = torch.full((3, 60, 120), 0.5)
    out = pi0.letterbox(picture, 56, antialias=True, bars=-1.0)
    assert (out[:, :14] == -1).all() and (out[:, 42:] == -1).all()
    torch.testing.assert_close(out[:, 14:42], torch.zeros(3, 28, 56))


def test_a_policy_of_a_foreign_folder_answers_in_robot_units(tmp_path: Path) -> None:
    policy = load_policy(str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny")))
    assert (policy.head, policy.rows, policy.contract.camera_names) == (
        "flow",
        8,
        ("front", "hand"),
    )
    chunk = policy.infer(observation(), seed=1)
    assert chunk.names == tuple(NAMES) and chunk.actions.shape == (8, 7)
    again = policy.infer(observation(), seed=1)
    np.testing.assert_array_equal(again.actions, chunk.actions)
    for change in ({"guidance": 3.0}, {"solver": "heun"}, {"num_steps": 3}, {"seed": 2}):
        other = policy.infer(observation(), **({"seed": 1} | change))
        assert np.abs(other.actions - chunk.actions).max() > 1e-4, change


def test_relative_columns_start_from_the_state(tmp_path: Path) -> None:
    absolute = load_policy(str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny")))
    seen = observation()
    base = absolute.infer(seen, seed=1).actions
    spaces = {"arm": "joint_position", "gripper": "gripper"}
    actions = {"names": NAMES, "spaces": spaces, "relative": NAMES[:6]}
    relative = load_policy(
        str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny", actions=actions))
    ).infer(seen, seed=1)
    np.testing.assert_allclose(relative.actions[:, :6], base[:, :6] + seen.state[:6], atol=1e-12)
    np.testing.assert_allclose(relative.actions[:, 6], base[:, 6], atol=1e-12)


def test_a_chunk_expressed_again_is_what_the_network_said(tmp_path: Path) -> None:
    actions = {"names": NAMES, "spaces": {"arm": "joint_position", "gripper": "gripper"}, "relative": NAMES[:6]}  # fmt: skip
    policy = load_policy(str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny", actions=actions)))
    chunk = policy.infer(observation(), seed=1)
    expressed = pi0.express(policy.checkpoint, chunk, observation())
    np.testing.assert_allclose(expressed.model_actions, chunk.model_actions, atol=1e-6)
    assert expressed.known.all()


def test_other_units_of_the_data_become_the_robots(tmp_path: Path) -> None:
    golden = GOLDEN / "ckpt_pi0_tiny"
    seen, units = observation(), dict.fromkeys(NAMES[:6], "deg") | {"gripper": "percent"}
    scale = np.array([np.pi / 180] * 6 + [0.01])
    same = load_policy(str(policy_file(tmp_path, golden)))
    data = Observation(seen.images, seen.state / scale, seen.state_names, seen.instruction, 5)
    expected = (
        same.infer(data, seed=1).actions * scale
    )  # all in the data's units, then turned over
    got = load_policy(str(policy_file(tmp_path, golden, units=units))).infer(seen, seed=1).actions
    np.testing.assert_allclose(got, expected, atol=1e-4)
    with pytest.raises(ValueError, match=r"units\.gripper: got 'degrees', expected one of deg"):
        load_policy(str(policy_file(tmp_path, golden, units={"gripper": "degrees"})))
