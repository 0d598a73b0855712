"""RT-2 on a small PaliGemma: from a folder in `transformers` layout to a policy that acts, plans and answers."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from vla_policy import cli
from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.embodiment import load_embodiment
from vla_policy.families import rt2, rt2_training
from vla_policy.families.training import Demonstration, LossOptions, Question
from vla_policy.formats.conversion.convert import convert
from vla_policy.formats.native import folder as vla
from vla_policy.models import token_head
from vla_policy.models.config import Gemma2Config, GemmaConfig, SiglipConfig
from vla_policy.models.paligemma import choose_action_ids, of_parts
from vla_policy.models.sampling import Sampling
from vla_policy.models.text import load_text_tokenizer
from vla_policy.models.vla import VLA
from vla_policy.policy import Policy, load_policy
from vla_policy.types import Observation

SENTENCES = [
    "Q: what action should the robot take to pick up the red cube? A:", "Plan: Action:",
    "pick rxbar chocolate", "what is on the table? a red cube and a green ball",
]  # fmt: skip
NAMES = ("ee.x", "ee.y", "ee.z", "ee.qx", "ee.qy", "ee.qz", "ee.qw", "gripper")
STATE = (0.3, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0, 0.5)
THEIRS = (
    ("embed_tokens.", "language_model.model.embed_tokens."),
    ("language.", "language_model.model."),
    ("projector.", "multi_modal_projector.linear."),
    (
        "vision.position_embedding",
        "vision_tower.vision_model.embeddings.position_embedding.weight",
    ),
    ("vision.patch_embedding.", "vision_tower.vision_model.embeddings.patch_embedding."),
    ("vision.layers.", "vision_tower.vision_model.encoder.layers."),
    ("vision.", "vision_tower.vision_model."),
)


def write_tokenizer(path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<pad>", "<eos>", "<bos>", *(f"<unused{i}>" for i in range(5))],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens([f"rare{i}~" for i in range(256)])
    tokenizer.add_tokens([f"<loc{i:04d}>" for i in range(300)])
    tokenizer.save(str(path))


@pytest.fixture(scope="module")
def paligemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paligemma(tmp_path_factory.mktemp("paligemma"))


def write_paligemma(folder: Path) -> Path:
    """A random PaliGemma 2 in the hub's layout, 28 px, two layers."""
    write_tokenizer(folder / "tokenizer.json")
    size = load_text_tokenizer(folder / "tokenizer.json").size
    torch.manual_seed(0)
    model = VLA(
        of_parts(
            "small",
            GemmaConfig(48, 2, 96, heads=4, kv_heads=2, head_dim=12, gemma2=Gemma2Config(12)),
            SiglipConfig(28, 14, width=24, depth=2, mlp=48, heads=2),
            vocab=size + 8,
        )
    )

    def theirs(key: str) -> str:
        if key.startswith("vision."):
            key = key.replace(".fc", ".mlp.fc")
        start, name = next(pair for pair in THEIRS if key.startswith(pair[0]))
        return name + key[len(start) :]

    save_file({theirs(k): v for k, v in model.state_dict().items()}, folder / "model.safetensors")
    text = {"head_dim": 12, "num_attention_heads": 4, "query_pre_attn_scalar": 12}
    header = {"model_type": "paligemma", "text_config": text, "vision_config": {"num_attention_heads": 2}}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(header))
    return folder


def policy_file(paligemma: Path, *, plan: bool = False, **changed: object) -> Path:
    data = {
        "checkpoint": str(paligemma),
        "cameras": {"first": "front", "second": "wrist"},
        "state": list(NAMES),
        "actions": {"names": list(NAMES), "spaces": {"arm": "ee_pose", "hand": "gripper"}},
        "policy_hz": 10,
        "embodiments": ["vx300s"],
        "rt2": {"step_m": 0.04, "step_rad": 0.1, "plan": plan},
    }
    path = paligemma / "policy.yaml"
    path.write_text(yaml.safe_dump(data | changed))
    return path


def make(paligemma: Path, **options: object) -> Checkpoint:
    return load_policy(str(policy_file(paligemma, **options))).checkpoint


def observe(instruction: str = "pick up the red cube", seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    images = {
        name: rng.integers(0, 256, (40, 60, 3), dtype=np.uint8) for name in ("front", "wrist")
    }
    return Observation(images, np.array(STATE), NAMES, instruction, obs_ns=5)


def test_prompt_is_rt2s() -> None:
    expected = "Q: what action should the robot take to pick up the cube? A:"
    assert rt2.prompt("pick  up_the cube.") == expected


def test_action_ids_are_the_rarest_and_kept(paligemma: Path, tmp_path: Path) -> None:
    checkpoint = make(paligemma)
    words = checkpoint.tokenizer
    ids = checkpoint.settings.action_ids
    assert len(set(ids)) == 256 and max(ids) < words.token_id("<loc0000>")
    reserved = {0, words.bos, words.eos, *(words.token_id(f"<unused{i}>") for i in range(5))}
    assert not reserved & set(ids)
    assert ids == tuple(words.token_id(f"rare{i}~") for i in range(256))
    loc = choose_action_ids(words, "loc")
    assert loc[0] == words.token_id("<loc0044>") and loc[-1] == words.token_id("<loc0299>")
    with pytest.raises(ValueError, match="got 'common', expected rare or loc"):
        choose_action_ids(words, "common")
    convert(policy_file(paligemma), tmp_path / "rt2", "vla")
    loaded = load_policy(str(tmp_path / "rt2")).checkpoint
    robot = load_embodiment("vx300s")
    assert Policy(loaded, "token").check(robot) == ()
    assert loaded.settings == checkpoint.settings
    assert loaded.contract == checkpoint.contract
    for key, value in checkpoint.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[key], value), key


def test_from_a_folder_by_commands(
    paligemma: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(paligemma), "--policy-file"]) == 0
    path = tmp_path / "policy.yaml"
    path.write_text(capsys.readouterr().out)
    assert cli.main(["convert", str(path), str(tmp_path / "rt2"), "--to", "vla"]) == 0
    assert cli.main(["inspect", str(tmp_path / "rt2")]) == 0
    assert "heads: tokens (1 rows, 256 bins)" in capsys.readouterr().out
    contract = load_policy(str(tmp_path / "rt2")).contract
    assert contract.camera_names == ("my_camera",) and contract.policy_hz == 10


def test_it_may_only_act_while_it_acts(paligemma: Path) -> None:
    policy = Policy(make(paligemma, rows=2), "token")
    chunk = policy.infer(observe())
    assert chunk.actions.shape == (2, 8) and chunk.plan == ""
    assert np.abs(chunk.model_actions).max() <= 1
    np.testing.assert_array_equal(chunk.actions, policy.infer(observe(), seed=4).actions)
    steps = np.abs(np.diff(chunk.actions[:, :3], axis=0, prepend=[STATE[:3]]))
    assert steps.max() <= 0.04
    assert np.linalg.norm(chunk.actions[:, 3:7], axis=1) == pytest.approx(1.0)


def test_in_bfloat16_too(paligemma: Path, tmp_path: Path) -> None:
    vla.save(tmp_path / "rt2", make(paligemma))
    exact, rough = (
        load_policy(str(tmp_path / "rt2"), dtype=dtype) for dtype in ("float32", "bfloat16")
    )
    assert rough.checkpoint.model.embed_tokens.weight.dtype == torch.bfloat16
    prefixes = [
        p.family.prepare(p.checkpoint, "token", observe()).prefix.out for p in (exact, rough)
    ]
    torch.testing.assert_close(prefixes[1].float(), prefixes[0], atol=0.1, rtol=0.05)
    assert np.isfinite(rough.infer(observe()).actions).all()
    assert isinstance(rough.ask(observe(), "what is this?"), str)


def test_candidates_are_drawn_when_it_is_warm(paligemma: Path) -> None:
    checkpoint = make(paligemma)
    model = checkpoint.model
    model.config = replace(model.config, token=replace(model.config.token, temperature=3.0))
    policy = Policy(checkpoint, "token")
    some = policy.infer_candidates(observe(), Sampling(seed=1, candidates=3))
    again = policy.infer_candidates(observe(), Sampling(seed=1, candidates=3))
    assert len({c.actions.tobytes() for c in some}) == 3
    assert [c.actions.tobytes() for c in some] == [c.actions.tobytes() for c in again]
    with pytest.raises(ValueError, match="solver: the token head"):
        policy.infer(observe(), solver="heun")


def test_a_plan_without_end_is_cut_off_and_the_actions_follow(paligemma: Path) -> None:
    checkpoint = make(paligemma, plan=True)
    policy = Policy(
        replace(checkpoint, settings=replace(checkpoint.settings, max_plan=4)), "token"
    )
    chunk = policy.infer(observe())
    prefix = policy.family.prepare(policy.checkpoint, "token", observe()).prefix
    encode = policy.checkpoint.tokenizer.encode
    with torch.no_grad():
        logits, prefix = checkpoint.model.continue_with(prefix, torch.tensor([encode("Plan:")]))
        ids, prefix, _ = token_head.write(
            checkpoint.model,
            prefix,
            logits[:, -1],
            limit=4,
            stop_id=policy.checkpoint.tokenizer.eos,
        )
        logits, _ = checkpoint.model.continue_with(prefix, torch.tensor([encode(" Action:")]))
    assert chunk.plan == policy.checkpoint.tokenizer.decode(ids).strip()
    first = checkpoint.settings.action_ids[:2]  # terminate has two bins
    assert chunk.model_actions[0, 0] == 2 * int(logits[0, -1, list(first)].argmax()) - 1


def test_what_does_not_fit_is_refused(paligemma: Path, tmp_path: Path) -> None:
    joints = {"names": ["joint.a", "gripper"], "spaces": {"arm": "joint_position"}}
    with pytest.raises(
        ValueError,
        match=r"actions: got joint\.a, gripper in joint_position, expected the columns of",
    ):
        make(paligemma, actions=joints)
    with pytest.raises(ValueError, match=r"state: ee\.x, .* missing"):
        make(paligemma, state=["gripper"])
    with pytest.raises(ValueError, match="step_m"):
        make(paligemma, rt2={"step_rad": 0.1})
    with pytest.raises(ValueError, match=r"action_tokens.*common"):
        make(paligemma, rt2={"step_m": 0.1, "step_rad": 0.1, "action_tokens": "common"})
    policy_file(paligemma)
    whole = yaml.safe_load((paligemma / "policy.yaml").read_text())
    del whole["rt2"]
    (paligemma / "policy.yaml").write_text(yaml.safe_dump(whole))
    with pytest.raises(ValueError, match="rt2 is missing: a PaliGemma needs it to act"):
        load_policy(str(paligemma / "policy.yaml"))
    with pytest.raises(ValueError, match="action_ids: got 3 different ids, expected 256"):
        rt2.Rt2Settings((1, 2, 3))
    policy = Policy(make(paligemma), "token")
    with pytest.raises(ValueError, match="camera 'wrist' is missing"):
        policy.infer(replace(observe(), images={"front": observe().images["front"]}))
    with pytest.raises(ValueError, match=r"text has .* tokens, the model takes at most 128"):
        policy.infer(observe("~" * 200))
    vla.save(tmp_path / "rt2", policy.checkpoint)
    header = json.loads((tmp_path / "rt2" / "config.json").read_text())
    settings = header["settings"] | {"action_ids": header["settings"]["action_ids"][:9]}
    (tmp_path / "rt2" / "config.json").write_text(json.dumps(header | {"settings": settings}))
    with pytest.raises(ValueError, match="got 9 different ids"):
        load_policy(str(tmp_path / "rt2"))
    still = Demonstration(observe(), np.array([STATE]), np.array([True]))
    with pytest.raises(ValueError, match="plan: got none, the checkpoint writes a plan"):
        rt2_training.example(make(paligemma, plan=True), ("token",), still)
    with pytest.raises(ValueError, match="detach_prefix: got True, but RT-2 has no flow head"):
        batch = rt2_training.TRAINING.collate([rt2_training.example(make(paligemma), (), still)])
        options = LossOptions(detach_prefix=True)
        rt2_training.loss(policy.checkpoint, batch, options, torch.Generator())


@pytest.mark.slow
def test_co_training_teaches_to_act_plan_and_answer_with_the_same_weights(
    paligemma: Path, tmp_path: Path
) -> None:
    checkpoint = make(paligemma, plan=True)
    cube, hungry = observe(), observe("bring me a snack", seed=1)
    actions = np.array([[[0, 0.02, -0.03, 0.01, 0.05, 0, -0.08, 1.0]],
                        [[1, -0.01, 0, 0.035, 0, 0.09, 0, 0.0]]])  # fmt: skip
    plans = ("pick the red cube", "pick rxbar chocolate")
    normalised = [checkpoint.statistics.actions.normalise(a) for a in actions]
    robot = [
        rt2_training.example(
            checkpoint,
            ("token",),
            Demonstration(
                o,
                rt2.restore(checkpoint, a, o).actions,
                np.array([True]),
                plan=plan,
                done=a[:, 0] > 0,
            ),
        )
        for o, a, plan in zip((cube, hungry), normalised, plans, strict=True)
    ]
    questions = {"what is on the table?": "a red cube", "what is green?": "the ball"}
    web = [
        rt2_training.question(checkpoint, Question(tuple(cube.images.values()), *pair))
        for pair in questions.items()
    ]
    batch = rt2_training.TRAINING.collate([*web, *robot])

    def loss() -> tuple[torch.Tensor, dict[str, float]]:
        found = rt2_training.loss(checkpoint, batch, LossOptions(), torch.Generator())
        return found.total, {k: v.item() for k, v in found.parts.items()}

    checkpoint.model.requires_grad_(True)
    with torch.no_grad():
        before = loss()[0].item()
    optimiser = torch.optim.AdamW(checkpoint.model.parameters(), 1e-2, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=60)
    for _ in range(60):
        optimiser.zero_grad()
        loss()[0].backward()
        torch.nn.utils.clip_grad_norm_(checkpoint.model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    checkpoint.model.eval()
    with torch.no_grad():
        after, parts = loss()
    assert before > 4 and after < 0.05 and set(parts) == {"token", "text"}

    vla.save(tmp_path / "trained", checkpoint)
    policy = load_policy(str(tmp_path / "trained"), head="token")
    for observation, wanted, plan in zip((cube, hungry), actions, plans, strict=True):
        chunk = policy.infer(observation)
        assert chunk.plan == plan
        bins = checkpoint.statistics.actions.normalise(wanted)
        assert np.abs(chunk.model_actions - bins).max() <= 1 / 256 + 1e-9
        assert chunk.terminate == bool(wanted[0, 0])
    for question, answer in questions.items():
        assert policy.ask(cube, question) == answer


def test_one_camera_is_enough_to_act(paligemma: Path) -> None:
    policy = load_policy(str(policy_file(paligemma, cameras={"first": "front"})))
    chunk = policy.infer(observe(), seed=0)
    assert chunk.names == NAMES and chunk.actions.shape == (1, 8)
    assert np.abs(chunk.actions[0, :3] - STATE[:3]).max() <= 0.04 + 1e-9
    three = {"first": "front", "second": "wrist", "third": "side"}
    seen = observe()
    seen = replace(seen, images={**seen.images, "side": seen.images["front"]})
    policy = load_policy(str(policy_file(paligemma, cameras=three)))
    assert policy.infer(seen, seed=0).actions.shape == (1, 8)


@pytest.mark.parametrize(
    ("section", "change", "message"),
    [
        ("text_config", {"rms_norm_eps": 1e-5}, r"text_config\.rms_norm_eps: got 1e-05, only 1e-06"),
        ("text_config", {"rope_theta": 500000.0}, r"text_config\.rope_theta: got 500000, only 10000"),
        ("text_config", {"rope_parameters": {"rope_theta": 1e6}}, r"rope_theta: got 1e\+06, only 10000"),
        ("text_config", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling: got .*scaled rotary"),
        ("text_config", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types: got"),
        ("text_config", {"attention_bias": True}, "attention_bias: got True, only False"),
        ("text_config", {"hidden_activation": "gelu"}, "hidden_activation: got 'gelu'"),
        ("text_config", {"num_hidden_layers": 3}, "num_hidden_layers: got 3, only 2"),
        ("vision_config", {"layer_norm_eps": 1e-5}, r"vision_config\.layer_norm_eps: got 1e-05, only 1e-06"),
        ("vision_config", {"hidden_act": "gelu"}, "hidden_act: got 'gelu'"),
        ("vision_config", {"image_size": 224}, "image_size: got 224, only 28"),
    ],
)  # fmt: skip
def test_a_config_that_is_not_of_the_network_here_is_refused(
    section: str, change: dict[str, object], message: str, paligemma: Path
) -> None:
    path = paligemma / "config.json"
    before = path.read_text()
    header = json.loads(before)
    header[section] |= change
    path.write_text(json.dumps(header))
    try:
        with pytest.raises(ValueError, match=message):
            make(paligemma)
    finally:
        path.write_text(before)


def test_a_config_that_says_what_the_network_does_is_read(paligemma: Path) -> None:
    path = paligemma / "config.json"
    before = path.read_text()
    header = json.loads(before)
    header["text_config"] |= {
        "rms_norm_eps": 1e-6, "rope_theta": 10000, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "layer_types": ["sliding_attention", "full_attention"], "model_type": "gemma2", "hidden_size": 48,
    }  # fmt: skip
    header["vision_config"] |= {"layer_norm_eps": 1e-6, "patch_size": 14, "image_size": 28}
    path.write_text(json.dumps(header))
    try:
        make(paligemma)
    finally:
        path.write_text(before)
