"""Losses and gradients of lerobot's own pi0, pi0.5 and SmolVLA, for test/families/test_training_golden.py.

    $LEROBOT_PYTHON test/golden/make_training_golden.py test/golden

Reads the small random policies beside it (ckpt061_*, the weights of ref_smolvla_tiny) and writes for each a file with
the raw observations and actions in robot units, what chance gave (noise, time), the loss that lerobot's
`policy.forward` returns and the gradients of a few tensors, by lerobot's names. Made with lerobot 0.6.1, float32.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import torch
from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.policies.pi0 import modeling_pi0
from lerobot.policies.pi05 import modeling_pi05
from lerobot.policies.smolvla import modeling_smolvla, smolvlm_with_expert
from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
from lerobot.processor import PolicyProcessorPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, SmolVLMConfig

TASKS = ["pick up the_cube", "put it down"]
HEADS = {"heads": 8, "kv": 1, "head_dim": 16, "vision": 4}
GRADIENTS = {
    "pi0": (
        "action_in_proj.weight", "action_out_proj.weight", "state_proj.weight", "action_time_mlp_in.weight",
        "paligemma_with_expert.gemma_expert.model.layers.0.self_attn.q_proj.weight",
        "paligemma_with_expert.paligemma.model.language_model.layers.0.self_attn.k_proj.weight",
        "paligemma_with_expert.paligemma.model.vision_tower.encoder.layers.0.self_attn.v_proj.weight",
        "paligemma_with_expert.paligemma.model.multi_modal_projector.linear.bias",
    ),
    "pi05": (
        "action_in_proj.weight", "action_out_proj.weight", "time_mlp_in.weight",
        "paligemma_with_expert.gemma_expert.model.layers.0.input_layernorm.dense.bias",
        "paligemma_with_expert.gemma_expert.model.layers.0.mlp.down_proj.weight",
        "paligemma_with_expert.paligemma.model.language_model.layers.0.mlp.up_proj.weight",
        "paligemma_with_expert.paligemma.model.vision_tower.encoder.layers.0.self_attn.v_proj.weight",
        "paligemma_with_expert.paligemma.model.multi_modal_projector.linear.bias",
    ),
    "smolvla": (
        "state_proj.weight", "action_out_proj.weight", "action_time_mlp_in.weight",
        "vlm_with_expert.lm_expert.layers.0.self_attn.q_proj.weight",
        "vlm_with_expert.lm_expert.layers.1.self_attn.k_proj.weight",
        "vlm_with_expert.vlm.model.text_model.layers.1.self_attn.k_proj.weight",
        "vlm_with_expert.vlm.model.vision_model.encoder.layers.0.self_attn.v_proj.weight",
        "vlm_with_expert.vlm.model.connector.modality_projection.proj.weight",
    ),
}  # fmt: skip


def characters():
    """One token a character, as the policies beside it were made with."""
    vocabulary = {"<pad>": 0, "<unk>": 1, "<bos>": 2, "\n": 3}
    vocabulary |= {chr(c): c - 28 for c in range(32, 127)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>")


def gemma(weights, name):
    """Sizes of a Gemma stack, by its tensors."""
    layer = f"{name}.layers.0."
    depth = len({k.removeprefix(f"{name}.layers.").split(".")[0] for k in weights
                 if k.startswith(f"{name}.layers.")})  # fmt: skip
    mlp, width = weights[f"{layer}mlp.up_proj.weight"].shape
    return modeling_pi0.GemmaConfig(
        width=width, depth=depth, mlp_dim=mlp, num_heads=HEADS["heads"],
        num_kv_heads=HEADS["kv"], head_dim=HEADS["head_dim"],
    )  # fmt: skip


def pi_policy(module, policy_class, folder):
    """lerobot's policy of a folder, at the size of its tensors instead of the published one."""
    weights = load_file(folder / "model.safetensors")
    start = "model.paligemma_with_expert."
    sizes = {
        "gemma_2b": gemma(weights, f"{start}paligemma.model.language_model"),
        "gemma_300m": gemma(weights, f"{start}gemma_expert.model"),
    }
    tower = f"{start}paligemma.model.vision_tower."
    tower += "vision_model." if any(k.startswith(f"{tower}vision_model.") for k in weights) else ""
    fc1 = weights[f"{tower}encoder.layers.0.mlp.fc1.weight"]
    depth = len({k.removeprefix(f"{tower}encoder.layers.").split(".")[0] for k in weights
                 if k.startswith(f"{tower}encoder.layers.")})  # fmt: skip
    vocab = weights[f"{start}paligemma.lm_head.weight"].shape[0]
    paligemma, expert = (
        module.PaliGemmaForConditionalGenerationWithPiGemma,
        module.PiGemmaForCausalLM,
    )

    def small_paligemma(config):
        vision = config.vision_config
        vision.hidden_size, vision.intermediate_size = fc1.shape[1], fc1.shape[0]
        vision.num_hidden_layers, vision.num_attention_heads = depth, HEADS["vision"]
        vision.patch_size = 14
        vision.projection_dim = sizes["gemma_2b"].width
        config.text_config.vocab_size, config._vocab_size, config.image_token_index = (
            vocab,
            vocab,
            0,
        )
        return paligemma(config=config)

    def small_expert(config):
        config.vocab_size = vocab
        return expert(config=config)

    with (
        patch.object(module, "get_gemma_config", sizes.__getitem__),
        patch.object(module, "PaliGemmaForConditionalGenerationWithPiGemma", small_paligemma),
        patch.object(module, "PiGemmaForCausalLM", small_expert),
    ):
        return policy_class.from_pretrained(folder, local_files_only=True, strict=True)


def raw(shapes, rows, width, seed):
    """Two observations and chunks in robot units."""
    generator = torch.Generator().manual_seed(seed)
    found = {
        f"obs.{name}": torch.randint(
            0, 256, (2, 3, *shape), generator=generator, dtype=torch.uint8
        )
        for name, shape in shapes.items()
    }
    found["obs.state"] = torch.rand(2, width, generator=generator) - 0.5
    found["action"] = torch.rand(2, rows, width, generator=generator) - 0.5
    found["noise"] = torch.randn(2, rows, 32, generator=generator)
    found["time"] = torch.tensor([0.31, 0.84])
    return found


def save(path, found, policy, loss, names):
    loss.backward()
    parameters = dict(policy.model.named_parameters())
    found["loss"] = loss.detach()
    for name in names:
        inner = (
            name
            if name in parameters
            else name.replace("vision_tower.", "vision_tower.vision_model.")
        )
        found[f"grad.{name}"] = parameters[inner].grad
    save_file({k: v.contiguous() for k, v in found.items()}, path)


def make_pi(root, kind, module, policy_class, name):
    folder = root / name
    policy = pi_policy(module, policy_class, folder).eval()
    overrides = {"tokenizer_processor": {"tokenizer": characters(), "tokenizer_name": None}}
    before = PolicyProcessorPipeline.from_pretrained(
        folder,
        config_filename="policy_preprocessor.json",
        overrides=overrides,
        local_files_only=True,
    )
    found = raw({"base": (84, 84), "wrist": (60, 84)}, policy.config.chunk_size, 7, 11)
    batch = before(
        {
            "observation.images.base": found["obs.base"].float() / 255,
            "observation.images.wrist": found["obs.wrist"].float() / 255,
            "observation.state": found["obs.state"],
            "action": found["action"],
            "task": TASKS,
        }
    )
    policy.model.sample_noise = lambda shape, device: found["noise"]
    policy.model.sample_time = lambda count, device: found["time"]
    loss, _ = policy.forward(batch)
    save(root / f"training_{kind}.safetensors", found, policy, loss, GRADIENTS[kind])


def make_smolvla(root):
    path = root / "ref_smolvla_tiny.safetensors"
    with safe_open(path, "pt") as file:
        sizes = json.loads(file.metadata()["config"])
        weights = {k[2:]: file.get_tensor(k) for k in file.keys() if k.startswith("w.")}
    small = SmolVLMConfig(
        text_config=sizes["text"], vision_config=sizes["vision"], scale_factor=sizes["scale_factor"],
        image_token_id=1,
    )  # fmt: skip
    fake = SimpleNamespace(
        tokenizer=SimpleNamespace(fake_image_token_id=1, global_image_token_id=2)
    )
    shapes = dict.fromkeys(("image", "image2"), (64, 64))
    config = SmolVLAConfig(
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (6,)),
            **{f"observation.{n}": PolicyFeature(FeatureType.VISUAL, (3, 64, 64)) for n in shapes},
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
        chunk_size=sizes["chunk"], n_action_steps=sizes["chunk"], resize_imgs_with_padding=(64, 64),
        num_vlm_layers=sizes["num_vlm_layers"], load_vlm_weights=False, freeze_vision_encoder=False,
        train_expert_only=False, expert_width_multiplier=sizes["expert_width_multiplier"], device="cpu",
    )  # fmt: skip
    with (
        patch.object(smolvlm_with_expert.AutoConfig, "from_pretrained", lambda *a, **k: small),
        patch.object(smolvlm_with_expert.AutoProcessor, "from_pretrained", lambda *a, **k: fake),
    ):
        policy = modeling_smolvla.SmolVLAPolicy(config).eval()
    policy.model.float().load_state_dict(weights, strict=True)
    found = raw(shapes, sizes["chunk"], 6, 12)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())  # one token a byte, as in the tests
    tokenizer = Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = [tokenizer.encode(f"{task}\n").ids for task in TASKS]
    longest = max(map(len, words))
    tokens = torch.tensor([w + [0] * (longest - len(w)) for w in words])
    mask = torch.tensor([[1] * len(w) + [0] * (longest - len(w)) for w in words], dtype=torch.bool)
    found["action_is_pad"] = torch.tensor([[False] * sizes["chunk"], [False] * 4 + [True] * (sizes["chunk"] - 4)])  # fmt: skip
    batch = {
        "observation.image": found["obs.image"].float() / 255,
        "observation.image2": found["obs.image2"].float() / 255,
        "observation.state": found["obs.state"],
        "action": found["action"],  # normalised already: this network is given no statistics
        "observation.language.tokens": tokens,
        "observation.language.attention_mask": mask,
        "action_is_pad": found["action_is_pad"],
    }
    loss, _ = policy.forward(batch, noise=found["noise"], time=found["time"], reduction="none")
    found["loss_each"] = loss.detach()
    save(root / "training_smolvla.safetensors", found, policy, loss.mean(), GRADIENTS["smolvla"])


if __name__ == "__main__":
    here = Path(sys.argv[1])
    torch.set_num_threads(1)
    make_pi(here, "pi0", modeling_pi0, modeling_pi0.PI0Policy, "ckpt061_pi0")
    make_pi(here, "pi05", modeling_pi05, modeling_pi05.PI05Policy, "ckpt061_pi05_relative")
    make_smolvla(here)
