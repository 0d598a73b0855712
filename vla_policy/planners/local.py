"""The planner of a local `transformers` folder: a language model, or one that sees pictures as well.

Runs in the policy's process. Weights are safetensors and no code of the folder is run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from vla_policy.planners.words import SYSTEM, question, seen_now
from vla_policy.runtime.planning import PlanAnswer, Planner, PlanRequest, read_answer
from vla_policy.runtime.policy_protocol import PolicyProtocol
from vla_policy.types import Array, Observation

MAX_TOKENS = 120
Say = Callable[[str, str, Array | None], str]  # (system, user, uint8[h, w, 3] or None) -> answer


def local_planner(folder: Path, *, device: str, timeout_s: float) -> Planner:
    """Raises ValueError, in one sentence, if the folder cannot be used."""
    say = load(folder, device=device, timeout_s=timeout_s)
    one_at_a_time = threading.Lock()

    def plan(request: PlanRequest, policy: PolicyProtocol, observation: Observation) -> PlanAnswer:
        now = seen_now(request, policy, observation)
        image = next(iter(observation.images.values()), None)
        with one_at_a_time:
            text = say(SYSTEM, question(request, policy, now), image)
        answer = read_answer(text)
        return PlanAnswer(answer.kind, answer.text, now)

    return plan


def load(folder: Path, *, device: str, timeout_s: float) -> Say:
    """What the model of folder answers, greedily. Raises ValueError."""
    import transformers
    from safetensors import SafetensorError
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as SEEING,
    )

    kept: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **kept)
        sees = config.model_type in SEEING
        kind: Any = (
            transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
        )
        reader: Any = transformers.AutoProcessor if sees else transformers.AutoTokenizer
        words = reader.from_pretrained(folder, **kept)
        model = kind.from_pretrained(folder, use_safetensors=True, **kept).to(device).eval()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        line = " ".join(str(error).split())[:200]
        raise ValueError(f"planner {folder}: transformers cannot load it: {line}") from error
    if not words.chat_template:
        raise ValueError(f"planner {folder}: it has no chat template, expected a model for chats")

    def say(system: str, user: str, image: Array | None) -> str:
        return _say(model, words, system, user, image if sees else None, timeout_s)

    return say


def _say(
    model: Any, words: Any, system: str, user: str, image: Array | None, timeout_s: float
) -> str:
    import torch
    from PIL import Image

    told: Any = f"{system}\n\n{user}"  # not every template has a system's part
    if image is not None:
        told = [{"type": "image", "image": Image.fromarray(image)}, {"type": "text", "text": told}]
    inputs = words.apply_chat_template(
        [{"role": "user", "content": told}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    ).to(model.device)
    with torch.inference_mode():
        ids = model.generate(
            **inputs, do_sample=False, max_new_tokens=MAX_TOKENS, max_time=timeout_s
        )
    text: str = words.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return text
