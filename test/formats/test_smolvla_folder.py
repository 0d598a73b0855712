"""SmolVLA from a lerobot folder: observation in, robot units out; what does not fit is refused.

The folder is written here, with the golden file's weights (test/golden/ref_smolvla_tiny.safetensors), in the form in
which lerobot 0.4.4 saves one.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from vla_policy.families import pi0, smolvla
from vla_policy.formats.conversion.convert import convert
from vla_policy.formats.foreign import smolvla as smolvla_format
from vla_policy.formats.load import kind_of, load_checkpoint
from vla_policy.models.engine import choose
from vla_policy.models.engine.smolvla import compile_smolvla
from vla_policy.models.sampling import Sampling
from vla_policy.policy import load_policy
from vla_policy.types import Observation

GOLDEN = Path(__file__).parents[1] / "golden" / "ref_smolvla_tiny.safetensors"
NAMES = (*(f"joint.j{i}" for i in range(5)), "gripper")
PREPROCESSOR, POSTPROCESSOR = (
    "policy_preprocessor_step_5_normalizer_processor.safetensors",
    "policy_postprocessor_step_0_unnormalizer_processor.safetensors",
)
NORM_MAP = {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
CONFIG = {
    "type": "smolvla", "n_obs_steps": 1, "chunk_size": 6, "n_action_steps": 6,
    "input_features": {
        "observation.state": {"type": "STATE", "shape": [6]},
        "observation.image": {"type": "VISUAL", "shape": [3, 64, 64]},
        "observation.image2": {"type": "VISUAL", "shape": [3, 64, 64]},
        "observation.image3": {"type": "VISUAL", "shape": [3, 64, 64]},
    },
    "output_features": {"action": {"type": "ACTION", "shape": [6]}},
    "normalization_mapping": NORM_MAP, "max_state_dim": 32, "max_action_dim": 32,
    "resize_imgs_with_padding": [64, 64], "empty_cameras": 0, "adapt_to_pi_aloha": False,
    "use_delta_joint_actions_aloha": False, "tokenizer_max_length": 48, "num_steps": 10,
    "add_image_special_tokens": False, "attention_mode": "cross_attn", "prefix_length": -1,
    "pad_language_to": "longest", "num_expert_layers": -1, "num_vlm_layers": 4,
    "self_attn_every_n_layers": 2, "expert_width_multiplier": 0.75, "min_period": 0.004,
    "max_period": 4.0,
}  # fmt: skip


def statistics(before: str = "") -> dict[str, torch.Tensor]:
    rng = np.random.default_rng(1)
    return {
        f"{before}{feature}.{key}": torch.from_numpy(rng.uniform(0.5, 2.0, 6)).float()
        for feature in ("observation.state", "action")
        for key in ("mean", "std")
    }


def write_json(path: Path, data: dict) -> None:
    path.write_text(json.dumps(data))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_smolvla(tmp_path / "checkpoint")


def write_smolvla(path: Path) -> Path:
    """The golden file's network as a folder of lerobot 0.4.4, without a tokenizer."""
    path.mkdir()
    write_json(path / "config.json", CONFIG)
    for name, step, file in (
        ("policy_preprocessor.json", "normalizer_processor", PREPROCESSOR),
        ("policy_postprocessor.json", "unnormalizer_processor", POSTPROCESSOR),
    ):
        config = {"eps": 1e-8, "features": {}, "norm_map": NORM_MAP}
        steps = [{"registry_name": step, "config": config, "state_file": file}]
        write_json(path / name, {"name": name[:-5], "steps": steps})
        save_file(statistics(), path / file)
    weights = {f"model.{k[2:]}": v for k, v in load_file(GOLDEN).items() if k.startswith("w.")}
    save_file(weights, path / "model.safetensors")
    return path


def byte_tokens(path: Path) -> None:
    vocabulary = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))  # one token a byte
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.save(str(path))


def policy_file(checkpoint: Path, **changes: object) -> Path:
    byte_tokens(checkpoint.parent / "tokenizer.json")
    content = {
        "checkpoint": str(checkpoint), "tokenizer": "tokenizer.json",
        "cameras": {"image2": "wrist", "image": "front"}, "state": list(NAMES),
        "actions": {
            "names": list(NAMES), "spaces": {"arm": "joint_position", "gripper": "gripper"},
        },
        "policy_hz": 30, "embodiments": ["so100"], "heads": {"language": 4, "kv": 2, "vision": 4},
    } | changes  # fmt: skip
    path = checkpoint.parent / "policy.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in content.items() if v is not None}))
    return path


def observation(**changes: object) -> Observation:
    rng = np.random.default_rng(0)
    values = {
        "images": {
            "wrist": rng.integers(0, 255, (48, 64, 3), dtype=np.uint8),
            "front": rng.integers(0, 255, (96, 128, 3), dtype=np.uint8),
        },
        "state": np.linspace(-0.5, 0.5, 6), "state_names": NAMES,
        "instruction": "Pick it up", "obs_ns": 5,
    }  # fmt: skip
    return Observation(**(values | changes))


def test_the_golden_weights_from_a_folder(folder: Path) -> None:
    checkpoint = load_checkpoint(policy_file(folder), device="cpu")
    golden = load_file(GOLDEN)
    inputs = pi0.Pi0Inputs(
        images=torch.stack([golden["in.image0"][:1], golden["in.image1"][:1]], 1),
        text=golden["in.tokens"][:1, :6],
        text_without=golden["in.tokens"][:1, :1],
        state=golden["in.state"][:1],
    )
    with torch.no_grad():
        actions = pi0.actions_from(checkpoint, inputs, golden["in.noise"][:1], Sampling())
    torch.testing.assert_close(actions, golden["out.actions10"][:1], atol=1e-5, rtol=0)


def test_what_the_network_reads(folder: Path) -> None:
    checkpoint = load_checkpoint(policy_file(folder), device="cpu")
    assert checkpoint.contract.camera_names == ("front", "wrist")  # the checkpoint's order
    assert checkpoint.settings.slots == ("image", "image2")
    seen = observation()
    inputs = smolvla.prepare(checkpoint, "flow", seen)
    assert inputs.images.shape == (1, 2, 3, 64, 64)
    wrist = inputs.images[0, 1]
    assert (wrist[:, :16] == -1.0).all()  # the bar is above, nothing below
    shown = torch.from_numpy(seen.images["wrist"].copy()).permute(2, 0, 1) / 127.5 - 1.0
    torch.testing.assert_close(wrist[:, 16:], shown, atol=1e-6, rtol=0)
    assert checkpoint.tokenizer.decode(inputs.text[0].tolist()) == "Pick it up\n"
    assert checkpoint.tokenizer.decode(inputs.text_without[0].tolist()) == "\n"
    mean, std = (statistics()[f"observation.state.{k}"].double().numpy() for k in ("mean", "std"))
    expected = np.zeros(32)
    expected[:6] = (seen.state - mean) / (std + 1e-8)
    np.testing.assert_allclose(inputs.state[0], expected, atol=1e-6)
    upright = smolvla.inputs_of(
        checkpoint, {n: torch.ones(3, 64, 32) for n in ("front", "wrist")}, seen.state, "x"
    )
    assert (upright.images[..., :32] == -1.0).all() and (upright.images[..., 32:] == 1.0).all()


def test_a_chunk_in_robot_units(folder: Path) -> None:
    policy = load_policy(str(policy_file(folder)))
    chunk = policy.infer(observation(), seed=3)
    assert chunk.actions.shape == (6, 6) and chunk.names == NAMES
    assert chunk.step_ns == round(1e9 / 30)
    mean, std = (statistics()[f"action.{k}"].double().numpy() for k in ("mean", "std"))
    np.testing.assert_allclose(chunk.actions, chunk.model_actions[:, :6] * std + mean, atol=1e-9)
    again = policy.infer(observation(), seed=3)
    assert np.array_equal(chunk.actions, again.actions)
    assert not np.allclose(chunk.actions, policy.infer(observation(), seed=4).actions)
    assert not np.allclose(chunk.actions, policy.infer(observation(), seed=3, num_steps=2).actions)
    other = policy.infer(observation(instruction="Push it away"), seed=3)
    assert not np.allclose(chunk.actions, other.actions)
    drawn = policy.infer_candidates(observation(), Sampling(seed=3, candidates=2))
    np.testing.assert_allclose(drawn[0].actions, chunk.actions, atol=1e-4)
    np.testing.assert_allclose(
        drawn[1].actions, policy.infer(observation(), seed=4).actions, atol=1e-4
    )
    with pytest.raises(ValueError, match="at most 48"):
        policy.infer(observation(instruction="word " * 20))


def test_a_chunk_is_continued(folder: Path) -> None:
    policy = load_policy(str(policy_file(folder)))
    first = policy.infer(observation(), seed=3)
    later = observation(obs_ns=5 + 2 * first.step_ns)
    left = replace(
        first,
        obs_ns=later.obs_ns,
        actions=first.actions[2:],
        model_actions=first.model_actions[2:],
    )
    second = policy.infer(later, left, seed=4, frozen_rows=2, guidance_rows=4)
    np.testing.assert_allclose(second.actions[:2], first.actions[2:4], atol=1e-5)
    free = policy.infer(later, seed=4)
    assert not np.allclose(free.actions[:2], first.actions[2:4], atol=0.1)


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("bfloat16", 0.2)])
def test_the_engine_gives_the_same_actions(folder: Path, precision: str, tolerance: float) -> None:
    checkpoint = load_checkpoint(policy_file(folder), device="cpu")
    before = {k: v.clone() for k, v in checkpoint.model.state_dict().items()}
    engine = compile_smolvla(checkpoint.model, precision=precision)
    seen, drawn = observation(), Sampling(seed=3, candidates=2, guidance=1.5)
    with torch.inference_mode():
        inputs = smolvla.prepare(checkpoint, "flow", seen)
        plain = smolvla.FAMILY.sample(checkpoint, "flow", inputs, drawn)
        fast = smolvla.FAMILY.sample(replace(checkpoint, engine=engine), "flow", inputs, drawn)
    np.testing.assert_allclose(fast.model_actions, plain.model_actions, atol=tolerance)
    assert not np.array_equal(fast.model_actions, plain.model_actions)
    assert all(torch.equal(v, before[k]) for k, v in checkpoint.model.state_dict().items())


def test_the_engine_is_for_large_models(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_policy(str(policy_file(folder))).checkpoint.engine is None
    monkeypatch.setattr(choose, "LARGE", 1000)
    policy = load_policy(str(policy_file(folder)), dtype="float32")
    assert policy.checkpoint.engine is not None
    plain = load_policy(str(policy_file(folder)), engine="off").infer(observation(), seed=3)
    np.testing.assert_allclose(
        policy.infer(observation(), seed=3).actions, plain.actions, atol=1e-4
    )


def test_bfloat16_is_near(folder: Path) -> None:
    path = str(policy_file(folder))
    exact = load_policy(path).infer(observation(), seed=3)
    policy = load_policy(path, dtype="bfloat16")
    language = policy.checkpoint.model.language.layers[0].mlp.up_proj.weight
    assert language.dtype == torch.bfloat16
    rounded = policy.infer(observation(), seed=3)
    assert np.abs(rounded.model_actions - exact.model_actions).max() < 0.2
    assert not np.array_equal(rounded.model_actions, exact.model_actions)


def test_statistics_of_other_data_are_not_taken_for_this_robots(folder: Path) -> None:
    for file in (PREPROCESSOR, POSTPROCESSOR):
        save_file(statistics("so100.buffer."), folder / file)
    with pytest.raises(
        ValueError, match=r"no statistics of 'observation.state'.*so100.buffer.action"
    ):
        load_checkpoint(policy_file(folder), device="cpu")
    with pytest.raises(ValueError, match=r"no statistics of 'so101.buffer.observation.state'"):
        load_checkpoint(policy_file(folder, statistics="so101.buffer"), device="cpu")
    named = load_checkpoint(policy_file(folder, statistics="so100.buffer"), device="cpu")
    mean = statistics()["action.mean"].double().numpy()
    np.testing.assert_array_equal(named.statistics.actions.statistics["mean"], mean)


def change_config(**changes: object) -> Callable[[Path], None]:
    return lambda folder: write_json(folder / "config.json", CONFIG | changes)


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors")

    return apply


NORM = "model.vlm_with_expert.lm_expert.norm.weight"
CROSS = "model.vlm_with_expert.lm_expert.layers.1.self_attn.k_proj.weight"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change_config(attention_mode="self_attn"), "attention_mode: got 'self_attn'"),
        (change_config(adapt_to_pi_aloha=True), "adapt_to_pi_aloha: got True"),
        (change_config(add_image_special_tokens=True), "add_image_special_tokens: got True"),
        (change_config(num_expert_layers=2), "num_expert_layers: got 2, the weights are of 4"),
        (change_config(resize_imgs_with_padding=[512, 512]), r"got \[512, 512\].*\[64, 64\]"),
        (change_config(resize_imgs_with_padding=None), "resize_imgs_with_padding: got None"),
        (
            change_config(vlm_model_name="Qwen/Qwen2-VL"),
            "vlm_model_name: got 'Qwen/Qwen2-VL', only the SmolVLM",
        ),
        (change_config(expert_width_multiplier=0.5), "expert_width_multiplier: got 0.5, which is"),
        (change_config(max_state_dim=64), "max_state_dim: got 64, the weights are of 32"),
        (change_config(self_attn_every_n_layers=1), r"shape .*layers.1.self_attn.k_proj"),
        (change_config(self_attn_every_n_layers=0), "joint_every: got 0"),
        (change_config(num_steps="10"), "num_steps: got '10', expected int"),
        (change_config(normalization_mapping=NORM_MAP | {"ACTION": "MIN_MAX"}), "two checkpoints"),
        (
            change_config(output_features={"action": {"type": "ACTION", "shape": [7]}}),
            "trained with 7",
        ),
        (change_weights(lambda w: w.pop(NORM)), rf"missing +{NORM}".replace("model.", "")),
        (change_weights(lambda w: w.update(more=torch.ones(2))), r"unexpected more \(2,\)"),
        (change_weights(lambda w: w.update({CROSS: torch.ones(32, 48)})), r"shape .*\(32, 48\)"),
        (change_weights(lambda w: w[NORM].fill_(torch.nan)), rf"not finite {NORM}"),
        (
            change_weights(lambda w: w.update({"unnormalize_outputs.mean": torch.ones(6)})),
            "lerobot before 0.4",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    path = policy_file(folder)
    load_checkpoint(path, device="cpu")
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(path, device="cpu")


def test_policy_files_that_do_not_fit_are_refused(folder: Path) -> None:
    for changes, message in (
        ({"heads": None}, "not a published size"),
        ({"heads": {"language": 3, "kv": 2, "vision": 4}}, "3 query and 2 key heads do not fit"),
        ({"tokenizer": None}, "no tokenizer.*SmolVLM2"),
        ({"cameras": {"top": "front"}}, "the checkpoint has no top; it has image, image2, image3"),
        ({"state": ["gripper"]}, r"got 1 columns .gripper., the checkpoint was trained with 6"),
    ):
        with pytest.raises(ValueError, match=message):
            load_checkpoint(policy_file(folder, **changes), device="cpu")


def test_compiled_names_are_read_too(folder: Path) -> None:
    change_weights(
        lambda w: [
            w.update({k.replace("model.", "model._orig_mod.", 1): w.pop(k)}) for k in list(w)
        ]
    )(folder)
    load_checkpoint(policy_file(folder), device="cpu")


def test_there_and_back_bit_for_bit(folder: Path, tmp_path: Path) -> None:
    change_weights(
        lambda w: w.update({k: v.bfloat16() for k, v in w.items() if "vlm.model" in k})
    )(folder)
    path, ours, back = policy_file(folder), tmp_path / "ours", tmp_path / "back"
    assert convert(path, ours, "vla") == [
        f"{ours}: written as a vla folder from {folder} (smolvla)"
    ]
    convert(ours, back, "lerobot")
    for name in [p.name for p in folder.iterdir()]:
        if name != "model.safetensors":
            assert (back / name).read_bytes() == (folder / name).read_bytes(), name
    before, after = (load_file(p / "model.safetensors") for p in (folder, back))
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert value.dtype == after[key].dtype and torch.equal(value, after[key]), key
    first = load_policy(str(path)).infer(observation(), seed=3)
    own = load_policy(str(ours)).infer(observation(), seed=3)
    assert np.array_equal(first.actions, own.actions)
    (ours / "source" / "lerobot" / "config.json").unlink()
    with pytest.raises(ValueError, match="only if it came from there"):
        convert(ours, tmp_path / "again", "lerobot")
    for source, to in ((path, "openpi"), (folder, "vla"), (ours, "openpi")):
        with pytest.raises(ValueError, match="a SmolVLA of lerobot can be converted to vla"):
            convert(source, tmp_path / "again", to)


def test_a_wrong_tensor_is_not_converted(folder: Path, tmp_path: Path) -> None:
    change_weights(lambda w: w.pop(NORM))(folder)
    with pytest.raises(ValueError, match=r"missing +vlm_with_expert.lm_expert.norm.weight"):
        convert(policy_file(folder), tmp_path / "ours", "vla")
    assert not (tmp_path / "ours").exists()


def test_the_start_of_a_policy_file(folder: Path) -> None:
    assert kind_of(folder) == "smolvla"
    start = yaml.safe_load(smolvla_format.skeleton(folder))
    assert list(start["cameras"]) == ["image", "image2", "image3"]
    assert len(start["state"]) == len(start["actions"]["names"]) == 6
    assert start["checkpoint"] == str(folder)
    names = {k: start[k] for k in ("cameras", "state", "actions", "policy_hz")}
    path = policy_file(folder, **names, format="lerobot")
    assert load_checkpoint(path, device="cpu").contract.camera_names[2] == "my_camera_2"


def test_a_policy_file_filled_for_a_robot(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from vla_policy import cli

    assert cli.main(["inspect", str(folder), "--policy-file", "--robot", "so101"]) == 0
    content = yaml.safe_load(capsys.readouterr().out)
    assert content["checkpoint"] == str(folder) and len(content["state"]) == 6
