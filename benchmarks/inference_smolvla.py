"""SmolVLA: ours and lerobot 0.4.4, side by side in one run on the same random weights, inputs and precision.

Every round runs all of them in a new order, ratios are taken within a round, and before anything is timed their
actions must agree. lerobot lives in an environment of its own, beside this project's packages:

    LEROBOT=$(mktemp -d); python -m venv $LEROBOT
    echo $VIRTUAL_ENV/lib/python3.11/site-packages > $LEROBOT/lib/python3.11/site-packages/vla.pth
    $LEROBOT/bin/pip install --no-deps lerobot==0.4.4 draccus==0.10.0 mergedeep pyyaml-include==1.4.1 \\
        typing-inspect mypy-extensions toml datasets pandas pyarrow dill xxhash multiprocess fsspec jsonlines av \\
        accelerate diffusers deepdiff orderly-set cachebox imageio pyserial gymnasium farama-notifications \\
        cloudpickle einops requests urllib3 charset-normalizer certifi idna
    . tools/env.sh && $LEROBOT/bin/python benchmarks/inference_smolvla.py --out benchmarks/inference_smolvla.json
    ... --size tiny --rounds 3                                                    # checks the program itself
"""

import argparse
import contextlib
import importlib
import importlib.machinery
import json
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock, patch

import torch
from inference_cases import DTYPES, Case, Inputs, Run, random_inputs, random_model, with_rows
from inference_measure import (
    CLOCKS,
    header,
    products_alone,
    ratios,
    resumed,
    rounds_of,
    save,
    spread,
    timed,
)
from torch import Tensor

from vla_policy.formats.tensors import smolvla_names
from vla_policy.models import flow
from vla_policy.models.engine.smolvla import compile_smolvla
from vla_policy.models.llama import LlamaConfig
from vla_policy.models.smolvla import SmolFlowConfig, SmolVla, SmolVlaConfig, smolvla_450m

CASES = (
    Case("one camera, 12 words, nothing masked", 1, 12, slots=1, tokens=12),
    Case("two cameras, 12 words, nothing masked", 2, 12, slots=2, tokens=12),
    Case("two cameras of three, 12 words of 48", 2, 12),
)
AGREE = {"float32": 1e-4, "bfloat16": 0.15}
OURS, PLAIN, LEROBOT = "ours, engine", "ours, plain", "lerobot 0.4.4"
PRODUCTS = "the engine's products alone"
NARROW = "ours, engine in bfloat16"
UNREAD = "vlm_with_expert.vlm.lm_head.weight", "vlm_with_expert.lm_expert.embed_tokens.weight"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--size", default="450m", choices=("tiny", "450m"))
    parser.add_argument("--precision", nargs="*", choices=tuple(DTYPES), default=list(DTYPES))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument(
        "--cases", nargs="*", type=int, default=range(len(CASES)), help="their numbers"
    )
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument(
        "--clock", default="wall", choices=tuple(CLOCKS), help="processor: of a busy machine"
    )
    parser.add_argument("--out", type=Path)
    parser.add_argument("--add", action="store_true", help="to the report that --out already is")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    report = header(args.device, args.threads, args.clock)
    report["versions"]["lerobot"] = version("lerobot")
    if args.add:
        report = resumed(report, args.out)
    with torch.inference_mode():
        report.setdefault("chunks", [])
        for precision in args.precision:
            for entry in chunks(precision, [CASES[i] for i in args.cases], args):
                report["chunks"].append(entry)
                save(report, args.out)
    print(json.dumps(report, indent=2))


def chunks(precision: str, cases: list[Case], args: argparse.Namespace) -> Iterator[dict]:
    """Cases in one precision: first calls, agreement, times and ratios."""
    config, device = smolvla_450m() if args.size == "450m" else tiny(), args.device
    model = random_model(config, DTYPES[precision], device)
    for name, module in model.flow.named_children():
        if name != "expert":
            module.float()  # as both sides have it
    runs = {
        OURS: ours(compile_smolvla(model, precision=precision)),
        PLAIN: ours(model),
        LEROBOT: lerobot_smolvla(model),
    }
    if precision == "float32":  # what `infer` takes by itself where that is clearly faster
        runs[NARROW] = ours(compile_smolvla(model, precision="bfloat16"))
    for case in cases:
        inputs = random_inputs(with_rows(config, case.rows), case, device)
        calls = {name: partial(run, inputs, case.steps) for name, run in runs.items()}
        actions, first = {}, {}
        for name, call in calls.items():
            actions[name], first[name] = timed(call, device)
        differences = {
            name: (found.float() - actions[LEROBOT].float()).abs().max().item()
            for name, found in actions.items()
        }
        for name, difference in differences.items():
            if not difference <= AGREE["bfloat16" if name == NARROW else precision]:
                raise ValueError(f"{case.name}, {precision}: {name} differs by {difference:.2g}")
        calls[PRODUCTS] = products_alone(calls[OURS])
        times = rounds_of(calls, device, args.rounds, CLOCKS[args.clock])
        entry = {
            "model": config.name,
            "parameters": sum(p.numel() for p in model.parameters()),
            "precision": precision,
            "case": asdict(case),
            "largest_difference": {k: float(f"{v:.2g}") for k, v in differences.items()},
            "first_call_s": {k: round(v, 3) for k, v in first.items()},
            "ms": {k: spread([t * 1e3 for t in v]) for k, v in times.items()},
            "ratio_to_ours": ratios(times, OURS),
        } | ({"ratio_to_ours_in_bfloat16": ratios(times, NARROW)} if NARROW in times else {})
        print(f"{precision} {case.name}: {entry['ratio_to_ours']}", file=sys.stderr)
        yield entry


def tiny() -> SmolVlaConfig:
    """Every dimension small, to check the program."""
    heads = {"depth": 4, "heads": 4, "kv_heads": 2, "head_dim": 16}
    full = smolvla_450m()
    return replace(
        full, name="smolvla-tiny", vocab=256, language=LlamaConfig(64, mlp=128, **heads),
        vision=replace(full.vision, image_px=64, patch_px=8, width=48, depth=2, mlp=96, heads=4),
        flow=SmolFlowConfig(LlamaConfig(48, mlp=256, **heads), 2, rows=50, steps=10),
    )  # fmt: skip


def ours(model: SmolVla) -> Run:
    """What `infer` does with a robot of this case: absent cameras and padding never reach the network."""
    dtype = model.embed_tokens.weight.dtype

    def run(inputs: Inputs, steps: int) -> Tensor:
        b, cameras = len(inputs.state), int(inputs.camera_valid[0].sum())
        words = int((inputs.text[0] != 0).sum())
        images = inputs.images[:, :cameras].flatten(0, 1).to(dtype)
        patches = model.vision(images).unflatten(0, (b, cameras)).flatten(1, 2)
        state = inputs.state.to(dtype)
        prefix = model.prefix(patches, inputs.text[:, :words], state)
        return flow.integrate(lambda x, t: model.flow(prefix, state, x, t), inputs.noise, steps)

    return run


def lerobot_smolvla(model: SmolVla) -> Run:
    """lerobot's own class with the very tensors of model, as a function of inputs and steps."""
    flow_matching, smolvlm, settings = _import_lerobot()
    config = model.config
    here = SimpleNamespace(
        tokenizer=SimpleNamespace(fake_image_token_id=1, global_image_token_id=2)
    )
    with (
        patch.object(
            smolvlm.AutoConfig, "from_pretrained", lambda *_, **__: _smolvlm_config(config)
        ),
        patch.object(smolvlm.AutoProcessor, "from_pretrained", lambda *_, **__: here),
        contextlib.redirect_stdout(sys.stderr),
    ):
        peer = flow_matching(
            settings(
                chunk_size=config.flow.rows, n_action_steps=config.flow.rows, device="cpu",
                num_vlm_layers=config.language.depth, load_vlm_weights=False,
                self_attn_every_n_layers=config.flow.joint_every,
            )
        )  # fmt: skip
    weights = {smolvla_names.NAMING.theirs(k): v for k, v in model.state_dict().items()}
    if difference := set(weights) ^ (peer.state_dict().keys() - set(UNREAD)):
        raise ValueError(f"keys of lerobot's SmolVLA differ: {sorted(difference)[:8]}")
    peer.load_state_dict(weights, strict=False, assign=True)
    peer.eval()
    dtype = model.embed_tokens.weight.dtype

    def run(inputs: Inputs, steps: int) -> Tensor:
        peer.config.num_steps = steps
        peer.config.chunk_size = inputs.noise.shape[1]
        return peer.sample_actions(
            list(inputs.images.to(dtype).unbind(1)),
            list(inputs.camera_valid.unbind(1)),
            inputs.text,
            inputs.text != 0,
            inputs.state.to(dtype),
            noise=inputs.noise,
        )

    return run


def _smolvlm_config(config: SmolVlaConfig):
    from transformers.models.smolvlm.configuration_smolvlm import SmolVLMConfig

    v, t = config.vision, config.language
    return SmolVLMConfig(
        text_config={
            "model_type": "llama", "vocab_size": config.vocab, "hidden_size": t.width,
            "intermediate_size": t.mlp, "num_hidden_layers": t.depth, "num_attention_heads": t.heads,
            "num_key_value_heads": t.kv_heads, "head_dim": t.head_dim, "rms_norm_eps": t.eps,
            "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": v.width, "intermediate_size": v.mlp, "num_hidden_layers": v.depth,
            "num_attention_heads": v.heads, "image_size": v.image_px, "patch_size": v.patch_px,
        },
        scale_factor=config.shuffle,
    )  # fmt: skip


def _import_lerobot() -> tuple[Callable, types.ModuleType, Callable]:
    """lerobot's network and settings. torchvision, which SmolVLA never calls, is stood in for by empty modules.

    The first import of lerobot.policies raises a TypeError in another policy's file (GR00T); the second one works.
    """
    import transformers

    assert (
        transformers.SmolVLMForConditionalGeneration
    )  # looked up before torchvision seems to be there
    if "torchvision" not in sys.modules:
        for name in _torchvision():
            module = types.ModuleType(name)
            module.__path__ = []
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            module.__getattr__ = _anything
            sys.modules[name] = module
    with contextlib.suppress(TypeError):
        importlib.import_module("lerobot.policies")
    from lerobot.policies.smolvla import smolvlm_with_expert
    from lerobot.policies.smolvla.configuration_smolvla import SmolVLAConfig
    from lerobot.policies.smolvla.modeling_smolvla import VLAFlowMatching

    return VLAFlowMatching, smolvlm_with_expert, SmolVLAConfig


def _torchvision() -> Iterator[str]:
    yield "torchvision"
    for name in ("io", "ops", "transforms", "transforms.functional", "transforms.v2"):
        yield f"torchvision.{name}"
    yield "torchvision.transforms.v2.functional"


def _anything(name: str) -> object:
    if name.startswith("__"):
        raise AttributeError(name)
    return MagicMock()


if __name__ == "__main__":
    main()
