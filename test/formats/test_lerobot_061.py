"""Folders that lerobot 0.6.1 wrote itself: read, acted with as lerobot does, converted, and what of them is refused."""

import filecmp
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from pi0_folders import GOLDEN, NAMES, characters, observation, policy_file
from safetensors.torch import load_file, save_file

from vla_policy.families import pi0
from vla_policy.formats.conversion.convert import convert
from vla_policy.formats.foreign.lerobot_config import CONFIG, STEPS, relative_mask
from vla_policy.formats.load import load_checkpoint
from vla_policy.models.sampling import Sampling
from vla_policy.policy import load_policy

FOLDERS = ("ckpt061_pi0", "ckpt061_pi05_relative")
LM_HEAD = "model.paligemma_with_expert.paligemma.lm_head.weight"
DOCS = Path(__file__).parents[2] / "docs" / "checkpoints.md"


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[str], Path]:
    return lambda name: Path(shutil.copytree(GOLDEN / name, tmp_path / name))


@pytest.mark.parametrize("name", FOLDERS)
def test_from_raw_observation_to_robot_units_as_lerobot_does(name: str, tmp_path: Path) -> None:
    expected = load_file(GOLDEN / name / "expected.safetensors")
    checkpoint = load_checkpoint(policy_file(tmp_path, GOLDEN / name), device="cpu")
    state = expected["obs.state"].double().numpy()
    inputs = pi0.inputs_of(
        checkpoint,
        {"front": expected["obs.base"], "hand": expected["obs.wrist"]},
        state,
        "pick up the_cube",
    )
    tokens = expected["tokens"][expected["mask"].bool()]
    assert inputs.text[0].tolist() == tokens.tolist()
    np.testing.assert_allclose(inputs.state[0, :7], expected["state"][0], atol=1e-6)
    with torch.no_grad():
        actions = pi0.actions_from(checkpoint, inputs, expected["noise"], Sampling(num_steps=10))
    np.testing.assert_allclose(actions[0, :, :7], expected["raw"][0], atol=5e-5)
    rows = pi0.restore(checkpoint, actions[0].double().numpy(), observation(state=state))
    np.testing.assert_allclose(rows.actions, expected["action"][0], atol=2e-4)


def test_relative_actions_come_from_the_step_of_the_folder(tmp_path: Path) -> None:
    folder = GOLDEN / "ckpt061_pi05_relative"
    spaces = {"arm": "joint_position", "gripper": "gripper"}
    said = {"names": NAMES, "spaces": spaces, "relative": NAMES[:6]}
    filled = load_policy(str(policy_file(tmp_path, folder)))
    assert filled.checkpoint.settings.relative == tuple(NAMES[:6])
    same = load_policy(str(policy_file(tmp_path, folder, actions=said)))
    assert same.checkpoint.settings == filled.checkpoint.settings
    with pytest.raises(
        ValueError, match=r"actions\.relative: got joint\.j0, but .*makes joint\.j0, j"
    ):
        load_policy(str(policy_file(tmp_path, folder, actions=said | {"relative": NAMES[:1]})))
    with pytest.raises(
        ValueError, match=r"adds column 0 of the state.*got joint\.j1 and joint\.j0"
    ):
        swapped = [NAMES[1], NAMES[0], *NAMES[2:]]
        load_policy(str(policy_file(tmp_path, folder, state=swapped)))


@pytest.mark.parametrize(
    ("names", "excluded", "mask"),
    [
        (("a.pos", "gripper.pos"), ("gripper",), (True, False)),
        (("a.pos", "Left_GRIPPER"), ("Gripper",), (True, False)),
        (("wrist_1", "wrist_2"), ("wrist",), (False, False)),
        ((), ("gripper",), (True, True)),
        (("a", "b"), (), (True, True)),
        (("gripper",), ("gripper",), (False, True)),
        (("gripper", "a", "gripper"), ("gripper", ""), (False, True)),
    ],
)
def test_columns_are_left_absolute_by_a_part_of_their_name(
    names: tuple[str, ...], excluded: tuple[str, ...], mask: tuple[bool, ...]
) -> None:
    assert relative_mask(names, excluded, 2) == mask


@pytest.mark.parametrize("name", FOLDERS)
def test_to_ours_and_back_is_the_same_folder(name: str, tmp_path: Path) -> None:
    golden = GOLDEN / name
    path = policy_file(tmp_path, golden)
    convert(path, tmp_path / "own", "vla")
    convert(tmp_path / "own", tmp_path / "back", "lerobot")
    names = {p.name for p in golden.iterdir()} - {"expected.safetensors"}
    assert {p.name for p in (tmp_path / "back").iterdir()} == names
    for file in names:
        assert filecmp.cmp(golden / file, tmp_path / "back" / file, shallow=False), file
    a, b = (load_policy(str(p)) for p in (path, tmp_path / "own"))
    assert a.checkpoint.settings == b.checkpoint.settings
    seen = observation()
    np.testing.assert_array_equal(a.infer(seen, seed=1).actions, b.infer(seen, seed=1).actions)


def test_the_output_embedding_that_nothing_reads_can_be_left_out(tmp_path: Path) -> None:
    path = policy_file(tmp_path, GOLDEN / "ckpt061_pi0")
    convert(path, tmp_path / "lean", "lerobot", keep_unread=False)
    golden = load_file(GOLDEN / "ckpt061_pi0" / "model.safetensors")
    lean = load_file(tmp_path / "lean" / "model.safetensors")
    embedding = "model.paligemma_with_expert.paligemma.model.language_model.embed_tokens.weight"
    assert not torch.equal(golden[LM_HEAD], golden[embedding])
    assert torch.equal(lean[LM_HEAD], golden[embedding]) and embedding not in lean
    before = load_policy(str(path)).infer(observation(), seed=1)
    again = tmp_path / "again"
    again.mkdir()
    after = load_policy(str(policy_file(again, tmp_path / "lean"))).infer(observation(), seed=1)
    np.testing.assert_array_equal(after.actions, before.actions)


def test_the_tokenizer_in_its_own_folder_is_found_and_kept(copied: Callable[[str], Path]) -> None:
    folder = copied("ckpt061_pi0")
    (folder / "tokenizer").mkdir()
    characters(folder / "tokenizer" / "tokenizer.json")
    path = policy_file(folder.parent, folder, tokenizer=None)
    policy = load_policy(str(path))
    assert policy.checkpoint.tokenizer.source == folder / "tokenizer" / "tokenizer.json"
    convert(path, folder.parent / "own", "vla")
    load_policy(str(folder.parent / "own"))
    convert(folder.parent / "own", folder.parent / "back", "lerobot")
    back = folder.parent / "back" / "tokenizer" / "tokenizer.json"
    assert filecmp.cmp(folder / "tokenizer" / "tokenizer.json", back, shallow=False)


def test_a_chunk_is_continued_with_as_many_clean_rows_as_were_trained(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("ckpt061_pi05_relative")
    edit(folder / "config.json", rtc_training_max_delay=3)
    policy = load_policy(str(policy_file(folder.parent, folder)))
    seen = observation()
    before = policy.infer(seen, seed=1)
    kept = policy.infer(seen, before, seed=2, frozen_rows=3, guidance_rows=3)
    np.testing.assert_allclose(kept.actions[:3], before.actions[:3], atol=1e-6)
    assert np.abs(kept.actions[3:] - before.actions[3:]).max() > 1e-3
    with pytest.raises(
        ValueError, match=r"frozen_rows: got 4, .*trained to continue at most 3 rows"
    ):
        policy.infer(seen, before, seed=2, frozen_rows=4, guidance_rows=4)
    for wrong in (10, -1, True, "3"):
        edit(folder / "config.json", rtc_training_max_delay=wrong)
        with pytest.raises(ValueError, match=r"rtc_training_max_delay: got .*from 0 to 9"):
            load_policy(str(policy_file(folder.parent, folder)))


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def set_step(folder: Path, name: str, **settings: object) -> None:
    for path in folder.glob("policy_*processor.json"):
        data = json.loads(path.read_text())
        for step in data["steps"]:
            if step["registry_name"] == name:
                step["config"] |= settings
        path.write_text(json.dumps(data))


NEWER = {
    "use_visual_memory": True, "use_proprioceptive_memory": True, "min_period": 0.001, "max_period": 1.0,
    "n_obs_steps": 2, "image_resolution": [224, 224], "max_action_dim": 64, "ctp_enabled": True,
    "adapt_to_pi_aloha": True, "normalization_mapping": {"VISUAL": "MEAN_STD", "STATE": "QUANTILES", "ACTION": "QUANTILES"},
    "tokenizer_max_length": 100, "use_episode_metadata": True,
}  # fmt: skip


@pytest.mark.parametrize("key", NEWER)
def test_settings_that_would_change_what_the_network_gets_are_refused_by_name(
    key: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("ckpt061_pi05_relative")
    edit(folder / "config.json", **{key: NEWER[key]})
    with pytest.raises(ValueError, match=key):
        load_policy(str(policy_file(folder.parent, folder)))


def test_settings_of_training_and_of_memory_that_is_off_are_accepted(
    copied: Callable[[str], Path],
) -> None:
    folder = copied("ckpt061_pi05_relative")
    before = load_policy(str(policy_file(folder.parent, folder))).infer(observation(), seed=1)
    edit(
        folder / "config.json", use_visual_memory=False, memory_frames=9, optimizer_lr=1.0,
        n_action_steps=5, rtc_config={"enabled": True}, compile_model=True, min_period=0.004,
    )  # fmt: skip
    set_step(folder, "device_processor", device="cuda")
    set_step(
        folder, "pi05_prepare_state_tokenizer_processor_step", include_state_in_prompt=True,
        metadata_missing_policy="omit",
    )  # fmt: skip
    after = load_policy(str(policy_file(folder.parent, folder))).infer(observation(), seed=1)
    np.testing.assert_array_equal(after.actions, before.actions)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("pi05_prepare_state_tokenizer_processor_step", {"include_state_in_prompt": False}, "include_state_in_prompt: got False, only True"),
        ("pi05_prepare_state_tokenizer_processor_step", {"use_episode_metadata": True}, "use_episode_metadata: got True"),
        ("tokenizer_processor", {"padding_side": "left"}, "padding_side: got 'left', only 'right'"),
        ("tokenizer_processor", {"prefix": "x"}, "tokenizer_processor: prefix: got 'x', a setting that is not"),
        ("tokenizer_processor", {"max_length": 64}, "max_length: got 64, config.json has 200"),
        ("absolute_actions_processor", {"enabled": False}, "is on, absolute_actions_processor .* is off"),
        ("relative_actions_processor", {"enabled": 1}, "enabled: got 1, expected true or false"),
        ("relative_actions_processor", {"action_names": "all"}, "action_names: got 'all', expected a list"),
        ("normalizer_processor", {"normalize_observation_keys": ["x"]}, "so the state is not normalised"),
    ],
)  # fmt: skip
def test_steps_with_settings_that_are_not_understood(
    name: str, settings: dict[str, object], message: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("ckpt061_pi05_relative")
    set_step(folder, name, **settings)
    with pytest.raises(ValueError, match=message):
        load_policy(str(policy_file(folder.parent, folder)))


def test_steps_in_another_order_or_twice_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("ckpt061_pi05_relative")
    path = folder / "policy_preprocessor.json"
    data = json.loads(path.read_text())
    steps = data["steps"]
    for changed, message in (
        ([*steps[:2], steps[3], steps[2], *steps[4:]], "relative_actions_processor after normalizer"),
        ([*steps, steps[2]], "the step relative_actions_processor 2 times"),
        ([*steps, {"registry_name": "xvla_image_scale", "config": {}}], "the step 'xvla_image_scale', which is not"),
        ([*steps, 3], "the step 3, which is not"),
    ):  # fmt: skip
        path.write_text(json.dumps(data | {"steps": changed}))
        with pytest.raises(ValueError, match=message):
            load_policy(str(policy_file(folder.parent, folder)))


def test_the_two_embeddings_have_one_shape(copied: Callable[[str], Path]) -> None:
    folder = copied("ckpt061_pi0")
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {LM_HEAD: weights[LM_HEAD][:5].clone()}, folder / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"embed_tokens\.weight is .*lm_head\.weight is .*same shape"
    ):
        load_policy(str(policy_file(folder.parent, folder)))


def test_every_key_that_is_understood_stands_in_the_docs() -> None:
    text = DOCS.read_text()
    keys = {key for table in CONFIG.values() for key in table} | set(STEPS)
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def training_output(root: Path) -> Path:
    """What lerobot leaves behind, its weights left out: two steps, and `last` pointing to the second."""
    for step in ("000100", "020000"):
        folder = root / "checkpoints" / step / "pretrained_model"
        shutil.copytree(GOLDEN / "ckpt061_pi0", folder)
    (root / "checkpoints" / "last").symlink_to("020000")
    return root


def test_a_training_output_leads_to_its_checkpoint(tmp_path: Path) -> None:
    root = training_output(tmp_path / "train")
    last = root / "checkpoints" / "last"
    for folder, leads in (
        (root, last), (root / "checkpoints", last), (last, last),
        (root / "checkpoints" / "000100", root / "checkpoints" / "000100"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="training output of lerobot") as refused:
            load_policy(str(policy_file(tmp_path, folder)))
        assert str(refused.value).endswith(f"give {leads / 'pretrained_model'}")
    load_policy(str(policy_file(tmp_path, last / "pretrained_model")))
    (root / "checkpoints" / "last").unlink()
    with pytest.raises(ValueError, match=r"give .*/checkpoints/020000/pretrained_model$"):
        load_policy(str(root))


def test_an_adapter_leads_to_the_command_that_merges_it(copied: Callable[[str], Path]) -> None:
    folder = copied("ckpt061_pi05_relative")
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "lerobot/pi05_base"}')
    with pytest.raises(
        ValueError, match="LoRA adapter of lerobot/pi05_base, not a whole"
    ) as refused:
        load_policy(str(policy_file(folder.parent, folder)))
    assert "import PI05Policy as P; PeftModel.from_pretrained(P.from_pretrained('lerobot/pi05_base')" in str(refused.value)  # fmt: skip


@pytest.mark.parametrize("given", ["", "params"])
def test_jax_weights_lead_to_the_command_that_converts_them(given: str, tmp_path: Path) -> None:
    step = tmp_path / "my_run" / "29999"
    (step / "params" / "ocdbt.process_0").mkdir(parents=True)
    (step / "params" / "_METADATA").write_text("{}")
    (step / "assets" / "trossen").mkdir(parents=True)
    with pytest.raises(ValueError, match="convert_jax_model_to_pytorch") as refused:
        load_policy(str(step / given))
    assert f"--checkpoint_dir {step} " in str(refused.value)
    with pytest.raises(
        ValueError, match=rf"training output of openpi; give its newest step: {step}"
    ):
        load_policy(str(tmp_path / "my_run"))
