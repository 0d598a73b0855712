"""A whole OpenVLA folder, sharded as the published one is, through a policy file to an action in robot units."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from vla_policy import cli
from vla_policy.check.checkpoint_summary import describe
from vla_policy.families import openvla_inputs as inputs
from vla_policy.families.openvla import NAMES
from vla_policy.formats.native import folder as vla
from vla_policy.models.openvla import write_action
from vla_policy.models.sampling import Sampling
from vla_policy.policy import Policy, load_policy
from vla_policy.types import Observation

GOLDEN = Path(__file__).parents[1] / "golden" / "ref_openvla_tiny.safetensors"
INSTRUCTION = "Pick up the RED cube"
WORDS = ("In:", "What", "action", "should", "the", "robot", "take", "to", "pick", "up", "red", "cube?\nOut:")  # fmt: skip
STATE = ("ee.x", "ee.y", "ee.z", "ee.qx", "ee.qy", "ee.qz", "ee.qw", "gripper")
STEP = ["ee.x", "ee.y", "ee.z", "ee.roll", "ee.pitch", "ee.yaw", "gripper"]


def tensors() -> dict[str, torch.Tensor]:
    with safe_open(GOLDEN, "pt") as file:
        found = {k[2:]: file.get_tensor(k) for k in file.keys() if k.startswith("w.")}
    found["vision_backbone.fused_featurizer.attn_pool.latent"] = torch.zeros(1, 1, 32)
    return found


def write_folder(folder: Path, weights: dict[str, torch.Tensor], **header: object) -> None:
    folder.mkdir(exist_ok=True)
    names = sorted(weights)
    half = len(names) // 2
    index = {}
    for i, part in enumerate((names[:half], names[half:])):
        shard = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({k: weights[k] for k in part}, folder / shard)
        index |= dict.fromkeys(part, shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with safe_open(GOLDEN, "pt") as file:
        stats = json.loads(file.metadata()["config"])["norm_stats"]
    config = {
        "model_type": "openvla", "norm_stats": stats, "pad_to_multiple_of": 64,
        "text_config": {"model_type": "llama", "vocab_size": 384},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config | header))
    pieces = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"▁{w}": 3 + i for i, w in enumerate(WORDS)}
    pieces["▁"] = len(pieces)
    tokenizer = Tokenizer(models.WordLevel(pieces, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.save(str(folder / "tokenizer.json"))


def policy_file(folder: Path, **changed: object) -> Path:
    data = {
        "checkpoint": str(folder),
        "cameras": {"image": "front"},
        "state": list(STATE),
        "actions": {"names": STEP, "spaces": {"arm": "ee_delta", "hand": "gripper"}},
        "policy_hz": 5,
        "embodiments": ["widowx"],
        "heads": {"language": 4, "kv": 4, "vision": 2},
    }
    path = folder.parent / "policy.yaml"
    path.write_text(yaml.safe_dump(data | changed))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_folder(tmp_path / "openvla", tensors())
    return tmp_path / "openvla"


def observe() -> Observation:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    state = np.array([0.3, 0.1, 0.2, 0.0, 0.0, 0.0, 1.0, 0.5])
    return Observation({"front": picture}, state, STATE, INSTRUCTION, obs_ns=7)


def test_from_picture_to_action(folder: Path) -> None:
    policy = load_policy(str(policy_file(folder)))
    chunk = policy.infer(observe(), seed=3)
    assert policy.head == "token" and policy.rows == 1
    assert chunk.names == tuple(STEP) and chunk.step_ns == 200_000_000
    assert chunk.instruction == INSTRUCTION  # lower case only inside the prompt
    ids = inputs.prompt_ids(policy.checkpoint.tokenizer, INSTRUCTION)
    assert ids[0] == 1 and ids[-1] == 15 and 0 not in ids
    pixels = policy.family.prepare(policy.checkpoint, "token", observe()).pixels
    written, _ = write_action(
        policy.checkpoint.model, pixels, torch.tensor([ids]), constrained=False
    )
    normalised = inputs.actions_of(written.numpy(), 320)
    np.testing.assert_allclose(chunk.model_actions, normalised)
    with safe_open(GOLDEN, "pt") as file:
        action = json.loads(file.metadata()["config"])["norm_stats"]["bridge_orig"]["action"]
    low, high = np.array(action["q01"]), np.array(action["q99"])
    expected = np.where(action["mask"], 0.5 * (normalised + 1) * (high - low) + low, normalised)
    np.testing.assert_allclose(chunk.actions, expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_as_a_folder_of_this_project(folder: Path, tmp_path: Path, dtype: str) -> None:
    policy = load_policy(str(policy_file(folder)))
    vla.save(tmp_path / "own", policy.checkpoint)
    own = load_policy(str(tmp_path / "own"), dtype=dtype)
    assert own.contract == policy.contract
    assert own.checkpoint.settings == policy.checkpoint.settings
    chunk = own.infer(observe())
    if dtype == "float32":
        np.testing.assert_array_equal(chunk.actions, policy.infer(observe()).actions)
    else:
        assert own.checkpoint.model.lm_head.weight.dtype == torch.bfloat16
        pixels = policy.family.prepare(policy.checkpoint, "token", observe()).pixels
        with torch.no_grad():
            exact = policy.checkpoint.model.vision(pixels)
            rough = own.checkpoint.model.vision(pixels.bfloat16()).float()
        torch.testing.assert_close(rough, exact, atol=0.1, rtol=0.05)


def test_a_column_that_was_not_normalised_has_no_range_for_the_check(
    folder: Path, tmp_path: Path
) -> None:
    vla.save(tmp_path / "own", load_policy(str(policy_file(folder))).checkpoint)
    assert describe(tmp_path / "own").actions.names == NAMES[:6]
    config = json.loads((tmp_path / "own" / "config.json").read_text())
    (tmp_path / "own" / "config.json").write_text(json.dumps(config | {"family": "tiny"}))
    assert describe(tmp_path / "own").actions.names == NAMES


def test_constrained_and_candidates(folder: Path) -> None:
    free = load_policy(str(policy_file(folder)))
    bound = load_policy(str(policy_file(folder, compatibility=["openvla_constrained"])))
    assert not free.checkpoint.settings.constrained and bound.checkpoint.settings.constrained
    first, second = bound.infer_candidates(observe(), Sampling(candidates=2))
    np.testing.assert_array_equal(first.actions, second.actions)
    with pytest.raises(ValueError, match="guidance: the token head of this model has no"):
        bound.infer(observe(), guidance=2.0)


def test_step_becomes_a_pose_where_the_robot_takes_poses(folder: Path) -> None:
    pose = {"names": list(STATE), "spaces": {"arm": "ee_pose", "hand": "gripper"}}
    steps = load_policy(str(policy_file(folder))).infer(observe())
    poses = load_policy(str(policy_file(folder, actions=pose))).infer(observe())
    np.testing.assert_allclose(poses.actions[0, :3], [0.3, 0.1, 0.2] + steps.actions[0, :3])
    roll, pitch, yaw = steps.actions[0, 3:6] / 2
    # about the fixed axes x, then y, then z, from no rotation
    w = np.cos(roll) * np.cos(pitch) * np.cos(yaw) + np.sin(roll) * np.sin(pitch) * np.sin(yaw)
    assert abs(poses.actions[0, 6]) == pytest.approx(abs(w), abs=1e-9)
    assert poses.actions[0, 7] == steps.actions[0, 6]


def test_the_policy_file_that_inspect_prints(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(folder), "--policy-file"]) == 0
    data = yaml.safe_load(capsys.readouterr().out)
    assert data["statistics"] == "bridge_orig"
    path = policy_file(folder, **data, heads={"language": 4, "kv": 4, "vision": 2})
    assert load_policy(str(path)).contract.action_names == tuple(STEP)
    assert cli.main(["inspect", str(folder)]) == 0
    assert "statistics of: bridge_orig" in capsys.readouterr().out


def test_where_its_training_data_was_is_known_to_the_check(folder: Path) -> None:
    described = describe(policy_file(folder), "widowx")
    with safe_open(GOLDEN, "pt") as file:
        stats = json.loads(file.metadata()["config"])["norm_stats"]
    (expected,) = stats.values()
    low = expected["action"]["q01"]
    assert described.actions.low[:6].tolist() == low[:6]
    assert described.actions.where == str(folder / "config.json")


def test_crop_changes_what_is_seen(folder: Path) -> None:
    def seen(policy: Policy) -> torch.Tensor:
        return policy.family.prepare(policy.checkpoint, "token", observe()).pixels

    cropped = load_policy(str(policy_file(folder, compatibility=["openvla_centre_crop"])))
    assert not torch.equal(seen(cropped), seen(load_policy(str(policy_file(folder)))))


def test_what_does_not_fit_is_refused(folder: Path) -> None:
    def refused(match: str, **changed: object) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=match):
            load_policy(str(policy_file(folder, **changed)))

    refused("got 'fractal', expected one of: bridge_orig", statistics="fractal")
    refused("cameras: got 2, OpenVLA reads one", cameras={"a": "front", "b": "wrist"})
    refused("32 query and 32 key heads do not fit", heads={"language": 32, "kv": 32, "vision": 2})
    refused(
        "got gripper in gripper, expected the columns of one tool",
        actions={"names": ["gripper"], "spaces": {"h": "gripper"}},
    )
    refused(r"state: ee\.x.* missing", state=["gripper"], actions={
        "names": list(STATE), "spaces": {"arm": "ee_pose", "hand": "gripper"},
    })  # fmt: skip
    with pytest.raises(ValueError, match="no flow head"):
        load_policy(str(policy_file(folder)), head="flow")
    with pytest.raises(ValueError, match="write a policy file"):
        load_policy(str(folder))
    weights = tensors()
    del weights["projector.fc2.bias"]
    write_folder(folder, weights)
    refused(r"missing    projector\.fc2\.bias")
    write_folder(folder, tensors() | {"action_head.weight": torch.zeros(2)})
    refused(r"unexpected action_head\.weight")
    write_folder(folder, tensors() | {"projector.fc2.bias": torch.full((48,), torch.nan)})
    refused(r"not finite \S*projector\.fc2\.bias \(in model-0000\d-of-00002\.safetensors\)")
    write_folder(folder, tensors())
    shard = folder / "model-00001-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(r"model-00001-of-00002\.safetensors: the file is cut off: got \d+ bytes")
    write_folder(folder, tensors())
    two = json.loads((folder / "config.json").read_text())["norm_stats"]
    write_folder(folder, tensors(), norm_stats=two | {"fractal": two["bridge_orig"]})
    refused("got none, expected one of the data sets trained on: bridge_orig, fractal")
    (folder / "dataset_statistics.json").write_text(json.dumps({"own": two["bridge_orig"]}))
    assert load_policy(str(policy_file(folder))).checkpoint.statistics.actions.upper[6] == 1.0
    still = json.loads(json.dumps(two["bridge_orig"]))
    still["action"]["q99"][2] = still["action"]["q01"][2]
    (folder / "dataset_statistics.json").write_text(json.dumps({"own": still}))
    refused(r"statistics of 'dz': got range")
    (folder / "dataset_statistics.json").unlink()
    write_folder(folder, tensors())
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused("no weights at .*model-00002-of-00002")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"text_config": {"rope_scaling": {"rope_type": "yarn"}}},
            "rope_scaling: got .*scaled rotary",
        ),
        ({"text_config": {"hidden_act": "gelu"}}, "hidden_act: got 'gelu', only 'silu'"),
        ({"text_config": {"attention_bias": True}}, "attention_bias: got True"),
        ({"text_config": {"num_attention_heads": 8}}, "num_attention_heads: got 8, only 4"),
        ({"image_resize_strategy": "letterbox"}, "image_resize_strategy: got 'letterbox'"),
        ({"n_action_bins": 512}, "n_action_bins: got 512, only 256"),
        ({"use_fused_vision_backbone": False}, "use_fused_vision_backbone: got False"),
    ],
)
def test_a_config_that_is_not_of_the_network_here_is_refused(
    change: dict[str, object], message: str, folder: Path
) -> None:
    write_folder(folder, tensors(), **change)
    with pytest.raises(ValueError, match=message):
        load_policy(str(policy_file(folder)))


def test_the_base_of_the_rotary_positions_is_the_folders(folder: Path) -> None:
    def theta() -> float:
        return load_policy(str(policy_file(folder))).checkpoint.model.config.language.theta

    assert theta() == 10_000.0
    write_folder(folder, tensors(), text_config={"rope_theta": 500_000.0})
    assert theta() == 500_000.0


def test_a_policy_file_is_filled_for_a_robot_that_takes_a_tool_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["inspect", str(folder), "--policy-file", "--robot"]
    assert cli.main([*options, "ur5e_2f85"]) == 1
    assert "OpenVLA says steps of a tool" in capsys.readouterr().err
    assert cli.main([*options, "vx300s"]) == 0
    filled = yaml.safe_load(capsys.readouterr().out)
    assert filled["embodiments"] == ["vx300s"] and filled["statistics"] == "bridge_orig"
