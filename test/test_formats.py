"""lerobot and openpi folders of pi0 and pi0.5: from a raw observation to robot units, and everything refused."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from vla_policy.embodiment import load_embodiment
from vla_policy.families import pi0
from vla_policy.formats import lerobot, openpi, pi0_tensors
from vla_policy.formats.load import load_checkpoint
from vla_policy.models.text import load_text_tokenizer
from vla_policy.policy import load_policy
from vla_policy.sampling import Sampling
from vla_policy.types import Observation

GOLDEN = Path(__file__).parent / "golden"
KINDS = ("pi0", "pi05")
NAMES = [f"joint.j{i}" for i in range(6)] + ["gripper"]
LEROBOT = ["letterbox_lerobot_0_4_4", "state_padded_in_prompt"]


def characters(path: Path) -> Path:
    """The tokenizer that the golden files were made with: one token per character, the line end is 3."""
    vocabulary = {"<pad>": 0, "<unk>": 1, "\n": 3} | {chr(c): c - 28 for c in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.save(str(path))
    return path


def policy_file(folder: Path, source: Path, **changes: object) -> Path:
    """A policy file for the golden folders; a change to None leaves the key out."""
    content = {
        "checkpoint": str(source), "tokenizer": str(characters(folder / "tokenizer.json")),
        "cameras": {"wrist": "hand", "base": "front"}, "state": NAMES,
        "actions": {"names": NAMES, "spaces": {"arm": "joint_position", "gripper": "gripper"}},
        "policy_hz": 10, "embodiments": ["golden"], "heads": {"language": 8, "kv": 1, "vision": 4},
    }  # fmt: skip
    content = {k: v for k, v in (content | changes).items() if v is not None}
    path = folder / "policy.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def copied(tmp_path: Path, kind: str) -> Path:
    return Path(shutil.copytree(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "ckpt"))


def observation(**changes: object) -> Observation:
    rng = np.random.default_rng(0)
    values = {
        "images": {
            "front": rng.integers(0, 255, (56, 56, 3), dtype=np.uint8),
            "hand": rng.integers(0, 255, (40, 56, 3), dtype=np.uint8),
        },
        "state": np.linspace(-0.5, 0.5, 7), "state_names": tuple(NAMES),
        "instruction": "pick up the_cube", "obs_ns": 5,
    }  # fmt: skip
    return Observation(**(values | changes))


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
    settings = pi0.Settings(slots=(), state_in_words=True, state_words=3)
    text = pi0.prompt("go", np.array([-1.0, 0.999, 0.0]), settings)
    assert text == "Task: go, State: 0 255 128;\nAction: "
    assert pi0.prompt("a_b\n", np.zeros(2), pi0.Settings(slots=())) == "a b\n"


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


def as_openpi(source: Path, folder: Path, *, asset: str = "trossen") -> Path:
    """The same checkpoint as openpi writes it."""
    weights = load_file(source / "model.safetensors")
    folder.mkdir()
    save_file(
        {k.removeprefix("model."): v for k, v in weights.items()}, folder / "model.safetensors"
    )
    state_file = next(source.glob("*_normalizer_processor.safetensors"))
    stats = load_file(state_file)
    both = {
        mine: {key: stats[f"{theirs}.{key}"].tolist() for key in ("mean", "std", "q01", "q99")}
        for mine, theirs in (("state", "observation.state"), ("actions", "action"))
    }
    (folder / "assets" / asset).mkdir(parents=True)
    (folder / "assets" / asset / "norm_stats.json").write_text(json.dumps({"norm_stats": both}))
    (folder / "config.json").write_text(json.dumps({"action_dim": 32, "action_horizon": 8}))
    return folder


OPENPI_CAMERAS = {"left_wrist_0_rgb": "hand", "base_0_rgb": "front"}


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
    stem = "model." + pi0_tensors.WRAPPER
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


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_damaged_and_wrong_folders_are_refused(tmp_path: Path) -> None:
    weights = load_file(GOLDEN / "ckpt_pi0_tiny" / "model.safetensors")
    bias = "model.action_in_proj.bias"

    def refuse(message: str, damage: Callable[[Path], object] | None, **changes: object) -> None:
        folder = Path(shutil.copytree(GOLDEN / "ckpt_pi0_tiny", tmp_path / "damaged"))
        if damage is not None:
            damage(folder)
        with pytest.raises(ValueError, match=message):
            load_policy(str(policy_file(tmp_path, folder, **changes)))
        shutil.rmtree(folder)

    def put(tensors: dict[str, torch.Tensor]) -> Callable[[Path], object]:
        return lambda folder: save_file(tensors, folder / "model.safetensors")

    def cut(folder: Path) -> None:
        data = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(data[: len(data) * 2 // 3])

    def pickled(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")

    refuse(r"missing    action_in_proj", put({k: v for k, v in weights.items() if k != bias}))
    refuse(r"unexpected model\.what", put(weights | {"model.what": torch.zeros(1)}))
    refuse(
        r"shape      model\.action_in_proj\.bias: file \(3,\), model \(32,\)",
        put(weights | {bias: torch.zeros(3)}),
    )
    refuse(
        r"weights that are not numbers:\n  not finite model\.action_in_proj\.bias",
        put(weights | {bias: torch.full((32,), torch.nan)}),
    )
    refuse(
        "differ, but are one tensor",
        put(weights | {"model." + pi0_tensors.TIED: torch.zeros(512, 64)}),
    )
    refuse("the file is cut off: got .* bytes, expected", cut)
    refuse(r"pytorch_model\.bin: a pickle file can run code.*python -c", pickled)
    refuse(
        "type is 'pi05', but the weights are of pi0",
        lambda folder: edit(folder / "config.json", type="pi05"),
    )
    refuse(
        "type: got 'act', expected one of pi0, pi05",
        lambda folder: edit(folder / "config.json", type="act"),
    )
    refuse("3 query and 1 key heads do not fit", None, heads={"language": 3, "kv": 1, "vision": 4})
    refuse("not the published size.*`heads` in the policy file", None, heads=None)
    refuse("network takes at most 32", None, state=[f"joint.s{i}" for i in range(64)])
    refuse("got 6 columns.*trained with 7", None, state=NAMES[:6])
    refuse("the checkpoint has no top; it has base, wrist", None, cameras={"top": "front"})


def test_statistics_that_would_move_the_robot_wrongly_are_refused(tmp_path: Path) -> None:
    def refuse(kind: str, message: str, change: object, *, post: bool = True) -> None:
        folder = Path(shutil.copytree(GOLDEN / f"ckpt_{kind}_tiny", tmp_path / "s"))
        path = next(
            folder.glob("*_unnormalizer_*.safetensors" if post else "*_normalizer_*.safetensors")
        )
        save_file(change(load_file(path)), path)
        try:
            with pytest.raises(ValueError, match=message):
                load_policy(str(policy_file(tmp_path, folder)))
        finally:
            shutil.rmtree(folder)

    def renamed(stats: dict) -> dict:
        return {k.replace("action.", "so100.buffer.action."): v for k, v in stats.items()}

    def with_value(key: str, index: int, value: float):
        def change(stats: dict) -> dict:
            stats[key][index] = value
            return stats

        return change

    refuse(
        "pi0",
        "no statistics of 'action'; there are some of observation.state, so100.buffer.action",
        renamed,
    )
    refuse(
        "pi0",
        "'joint.j2': got mean .*, std 0, expected a spread",
        with_value("action.std", 2, 0.0),
    )
    refuse("pi0", "'joint.j1': got .* not finite", with_value("action.mean", 1, float("nan")))
    refuse(
        "pi05",
        "'gripper': got .* expected a spread",
        lambda s: s | {"action.q99": s["action.q01"] + torch.tensor([1.0] * 6 + [1e-7])},
    )
    refuse(
        "pi05",
        "q99 is missing, mode quantiles needs q01 and q99",
        lambda s: {k: v for k, v in s.items() if k != "action.q99"},
    )
    refuse(
        "pi0",
        "expected 7 .*statistics of another robot",
        lambda s: {k: v[:6].clone() for k, v in s.items()},
    )
    refuse(
        "pi0",
        "beyond are not padding",
        lambda s: {k: torch.cat((v, v)) for k, v in s.items()},
        post=False,
    )


def test_a_dimension_that_never_moved_can_be_declared(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi05")
    path = next(folder.glob("*_unnormalizer_*.safetensors"))
    stats = load_file(path)
    stats["action.q01"][6] = stats["action.q99"][6] = 0.25
    save_file(stats, path)
    policy = load_policy(str(policy_file(tmp_path, folder, constant=["gripper"])))
    assert (policy.infer(observation(), seed=0).actions[:, 6] == 0.25).all()


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


def test_the_gated_tokenizer_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"no tokenizer\. PaliGemma's is given out only to people who"
    ):
        load_policy(str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny", tokenizer=None)))
    other = tmp_path / "other.json"
    other.write_text("{}")
    with pytest.raises(ValueError, match="not a readable tokenizer"):
        load_policy(str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny", tokenizer=str(other))))
    with pytest.raises(ValueError, match="at most 48"):
        load_policy(str(policy_file(tmp_path, GOLDEN / "ckpt_pi0_tiny"))).infer(
            observation(instruction="a" * 60)
        )


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


def test_statistics_are_found_by_the_step_that_names_them(tmp_path: Path) -> None:
    folder = copied(tmp_path, "pi0")
    path = next(folder.glob("*_normalizer_*.safetensors"))
    path.rename(folder / "elsewhere.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*step_5"):
        lerobot.read_folder(folder, heads=pi0_tensors.Heads(8, 1, 4))
    text = (folder / "policy_preprocessor.json").read_text()
    (folder / "policy_preprocessor.json").write_text(
        text.replace(path.name, "elsewhere.safetensors")
    )
    found = lerobot.read_folder(folder, heads=pi0_tensors.Heads(8, 1, 4))
    assert found.state.mode == "mean_std"


def test_statistics_of_another_robot_or_unit_do_not_fit_the_robot(tmp_path: Path) -> None:
    robot = load_embodiment("vx300s")
    joints = [f"joint.{name}" for name in robot.joint_names[:6]]
    folder = copied(tmp_path, "pi05")
    path = next(folder.glob("*_normalizer_*.safetensors"))
    stats = load_file(path)
    middle = torch.tensor((robot.joints.lower + robot.joints.upper)[:6] / 2).float()

    def problems(scale: float) -> tuple[str, ...]:
        for key, side in (("q01", -0.2), ("q99", 0.2)):
            ends = torch.cat((middle + side, torch.tensor([0.5 + side]))) * scale
            stats[f"observation.state.{key}"] = ends
        save_file(stats, path)
        names = [*joints, "gripper"]
        policy = load_policy(str(policy_file(tmp_path, folder, state=names)))
        return tuple(p for p in policy.check(robot) if p.startswith("statistics"))

    assert problems(1.0) == ()
    found = problems(180 / np.pi)
    assert any("in another unit" in p and "joint." in p for p in found)
    assert any(p.startswith("statistics of gripper: trained around 28.6") for p in found)


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


def as_older_lerobot(folder: Path) -> Path:
    """The same checkpoint as lerobot 0.3 wrote it: statistics among the weights, older names, other keys."""
    weights = load_file(folder / "model.safetensors")
    for owner, file, theirs in (
        ("normalize_inputs", "*_normalizer_*", "observation.state"),
        ("unnormalize_outputs", "*_unnormalizer_*", "action"),
    ):
        path = next(folder.glob(f"{file}.safetensors"))
        stats = load_file(path)
        for key in ("mean", "std"):
            weights[f"{owner}.buffer_{theirs.replace('.', '_')}.{key}"] = stats[f"{theirs}.{key}"]
    save_file(weights, folder / "model.safetensors")
    for path in folder.glob("policy_*"):
        path.unlink()
    config = json.loads((folder / "config.json").read_text())
    config["num_steps"] = config.pop("num_inference_steps")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


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
    data["steps"].insert(0, {"registry_name": "absolute_actions_processor", "config": {}})
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match="the step 'absolute_actions_processor', which is not"):
        load_policy(str(policy_file(tmp_path, folder)))


def test_a_sentencepiece_model_is_a_tokenizer_too(tmp_path: Path) -> None:
    sentencepiece = pytest.importorskip(
        "sentencepiece", reason="reads tokenizer.model: pip install sentencepiece"
    )
    text = tmp_path / "text.txt"
    text.write_text("pick up the cube\nput the ball in the tray\npush the red cylinder\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(tmp_path / "tokenizer"), vocab_size=60, pad_id=0, eos_id=1, bos_id=2,
        unk_id=3, user_defined_symbols=["\n"], hard_vocab_limit=False, minloglevel=2,
    )  # fmt: skip
    tokens = load_text_tokenizer(tmp_path / "tokenizer.model")
    ids = tokens.encode("pick up the cube")
    assert tokens.decode(ids) == "pick up the cube" and max(ids) < tokens.size
    assert (tokens.bos, tokens.eos, tokens.token_id("</s>")) == (2, 1, 1)
    assert tokens.token_id("zzz") is None and 2 not in ids
    policy = load_policy(
        str(
            policy_file(
                tmp_path, GOLDEN / "ckpt_pi0_tiny", tokenizer=str(tmp_path / "tokenizer.model")
            )
        )
    )
    text_ids = pi0.prepare(policy.checkpoint, "flow", observation()).text[0].tolist()
    assert text_ids[0] == 2 and text_ids[-1] == tokens.encode("\n")[-1]


def test_without_sentencepiece_its_file_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="pip install sentencepiece"):
        load_text_tokenizer(path)
