"""Other people's runtimes on our weights, for benchmarks/inference.py: each gives a function from inputs to actions.

transformers' PI0ForConditionalGeneration is fed the contract's own inputs: three camera slots, of which some may be
absent, and a prompt padded to its full length, as openpi's and lerobot's processors write them.
"""

from collections.abc import Callable

import torch
from inference_cases import Inputs, Run
from torch import Tensor

from vla_policy.models.config import ModelConfig
from vla_policy.models.openvla import OpenVla
from vla_policy.models.vla import VLA

# Our key -> transformers' key; the first prefix that fits.
PI0_KEYS = (
    ("flow.expert.", "model.dit."),
    ("language.", "model.vlm.language_model."),
    ("embed_tokens.", "model.vlm.language_model.embed_tokens."),
    ("projector.", "model.vlm.multi_modal_projector.linear."),
    ("vision.patch_embedding.", "model.vlm.vision_tower.embeddings.patch_embedding."),
    ("vision.position_embedding", "model.vlm.vision_tower.embeddings.position_embedding.weight"),
    ("vision.layers.", "model.vlm.vision_tower.encoder.layers."),
    ("vision.post_layernorm.", "model.vlm.vision_tower.post_layernorm."),
    ("flow.action_out_proj.", "action_out_proj."),
    ("flow.", "embed_action_time."),
)
NEVER_READ = {"model.dit.embed_tokens.weight"}


def transformers_pi0(model: VLA) -> Run:
    """PI0ForConditionalGeneration with the very tensors of model, as a function of inputs and steps."""
    from transformers.models.pi0 import PI0Config, PI0ForConditionalGeneration

    config = model.config
    dtype = model.embed_tokens.weight.dtype
    with torch.device("meta"):
        peer = PI0ForConditionalGeneration(PI0Config(**_pi0_config(config)))
    weights = {_theirs(k): v.to(dtype) for k, v in model.state_dict().items()}
    weights["model.dit.embed_tokens.weight"] = torch.empty(0)
    expected = peer.state_dict().keys() - {"model.vlm.lm_head.weight"}
    if difference := (set(weights) ^ set(expected)):
        raise ValueError(f"keys of transformers' PI0 differ: {sorted(difference)[:8]}")
    peer.load_state_dict(
        {k: v for k, v in weights.items() if k not in NEVER_READ}, strict=False, assign=True
    )
    _fill_buffers(peer, model.embed_tokens.weight.device)
    peer.eval()
    image_id, per_image = config.vocab, (config.vision.image_px // config.vision.patch_px) ** 2

    def run(inputs: Inputs, steps: int) -> Tensor:
        b, cameras = inputs.camera_valid.shape
        peer.config.chunk_size = inputs.noise.shape[1]
        ids = torch.full((b, cameras * per_image), image_id, device=inputs.text.device)
        there = inputs.camera_valid.repeat_interleave(per_image, 1)
        return peer.sample_actions(
            state=inputs.state.to(dtype),
            input_ids=torch.cat((ids, inputs.text), 1),
            attention_mask=torch.cat((there, inputs.text != 0), 1).long(),
            pixel_values=inputs.images.to(dtype),
            pixel_attention_mask=inputs.camera_valid,
            noise=inputs.noise.to(dtype),
            num_steps=steps,
        )

    return run


def _pi0_config(config: ModelConfig) -> dict:
    v, flow = config.vision, config.flow
    return {
        "vlm_config": {
            "model_type": "paligemma",
            "text_config": {"model_type": "gemma", "vocab_size": config.vocab}
            | _gemma(config.language),
            "vision_config": {
                "model_type": "siglip_vision_model",
                "hidden_size": v.width,
                "intermediate_size": v.mlp,
                "num_hidden_layers": v.depth,
                "num_attention_heads": v.heads,
                "patch_size": v.patch_px,
                "image_size": v.image_px,
                "vision_use_head": False,
            },
            "projection_dim": config.language.width,
            "image_token_id": config.vocab,
        },
        "dit_config": {"model_type": "gemma", "vocab_size": config.vocab} | _gemma(flow.expert),
        "chunk_size": flow.rows,
        "max_state_dim": config.state_dim,
        "max_action_dim": config.action_dim,
        "num_inference_steps": flow.steps,
    }


def _gemma(stack: object) -> dict:
    return {
        "hidden_size": stack.width,
        "num_hidden_layers": stack.depth,
        "intermediate_size": stack.mlp,
        "num_attention_heads": stack.heads,
        "num_key_value_heads": stack.kv_heads,
        "head_dim": stack.head_dim,
    }


def _theirs(key: str) -> str:
    for ours, theirs in PI0_KEYS:
        if key.startswith(ours):
            key = theirs + key[len(ours) :]
            break
    if ".vision_tower." in key:
        key = key.replace(".fc1.", ".mlp.fc1.").replace(".fc2.", ".mlp.fc2.")
    return key


def _fill_buffers(peer: torch.nn.Module, device: torch.device) -> None:
    """Buffers are constants of the configuration: made anew where the model was built without memory."""
    for module in peer.modules():
        for name, buffer in list(module._buffers.items()):
            if buffer is None or not buffer.is_meta:
                continue
            if name == "position_ids":
                value = torch.arange(buffer.shape[-1]).expand(buffer.shape)
            elif name == "sinusoid_freq":
                value = module.compute_freqs(module.config)
            elif name in ("inv_freq", "original_inv_freq"):
                value = module.compute_default_rope_parameters(module.config)[0]
            elif name == "embed_scale":
                value = torch.tensor(module.scalar_embed_scale)
            else:
                raise ValueError(f"unknown buffer {name} of {type(module).__name__}")
            module._buffers[name] = value.to(device)


def transformers_openvla(model: OpenVla) -> Callable[[Tensor, Tensor], Tensor]:
    """OpenVLA's way of answering: our towers, then transformers' Llama with generate, greedy, on the same weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    c, config = model.config.language, model.config
    with torch.device("meta"):
        peer = LlamaForCausalLM(
            LlamaConfig(
                hidden_size=c.width,
                intermediate_size=c.mlp,
                num_hidden_layers=c.depth,
                num_attention_heads=c.heads,
                num_key_value_heads=c.kv_heads,
                head_dim=c.head_dim,
                vocab_size=config.vocab,
                rms_norm_eps=c.eps,
                eos_token_id=None,
                pad_token_id=0,
            )
        )
    weights = {
        "lm_head.weight": model.lm_head.weight,
        "model.embed_tokens.weight": model.embed_tokens.weight,
    }
    weights |= {f"model.{k}": v for k, v in model.language.state_dict().items()}
    peer.load_state_dict(weights, strict=True, assign=True)
    _fill_buffers(peer, model.lm_head.weight.device)
    peer.eval()

    def run(pixels: Tensor, text: Tensor) -> Tensor:
        words = model.embed_tokens(text)
        patches = model.projector(model.vision(pixels)).to(words.dtype)
        x = torch.cat((words[:, :1], patches, words[:, 1:]), 1)
        return peer.generate(
            inputs_embeds=x,
            attention_mask=torch.ones_like(x[..., 0], dtype=torch.long),
            max_new_tokens=config.action_dim,
            do_sample=False,
        )

    return run
