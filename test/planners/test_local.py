"""A local transformers folder as planner, at small random size: words alone, and with a picture."""

import json
from dataclasses import replace
from unittest.mock import create_autospec, patch

import numpy as np
import pytest
import torch
from table_policy import TablePolicy, observation
from tokenizers import Tokenizer, models, pre_tokenizers

from vla_policy.planners.choose import find_planner
from vla_policy.planners.local import local_planner
from vla_policy.runtime.planning import Answered, PlanRequest

ANSWER = json.dumps({"next": "put the red cube in the tray"})
WORDS = {"<unk>": 0, "<ask>": 1, ANSWER: 2, "</s>": 3, "<image>": 4}
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}<ask>"


def tokenizer(template):
    """Every word is unknown but those of WORDS, so what a model says is up to its last layer."""
    # Seconds of imports: of the worker that runs these tests, not of all that collect them.
    from transformers import PreTrainedTokenizerFast

    plain = Tokenizer(models.WordLevel(WORDS, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", eos_token="</s>")
    made.add_tokens([*WORDS], special_tokens=False)
    made.chat_template = template
    return made


def folder(tmp_path, says, template=TEMPLATE):
    """A random Llama that says one word after <ask>, and then ends."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}  # fmt: skip
    config = LlamaConfig(vocab_size=len(WORDS), tie_word_embeddings=False, eos_token_id=3, bos_token_id=None, pad_token_id=3, **sizes)  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(WORDS), 16))
        model.lm_head.weight.zero_()
        model.lm_head.weight[says, 1] = 1.0  # after <ask>
        model.lm_head.weight[3, says] = 1.0  # and then </s>
    model.save_pretrained(tmp_path)
    tokenizer(template).save_pretrained(tmp_path)
    return tmp_path


def test_a_local_model_plans(tmp_path):
    planner = find_planner(str(folder(tmp_path, WORDS[ANSWER])), environment={})
    policy = TablePolicy(red_cube=(0.4, 0.0, 0.0))
    answer = planner(PlanRequest("clear the table"), policy, observation())
    assert (answer.kind, answer.text) == (Answered.NEXT, "put the red cube in the tray")
    assert answer.seen == ("red cube: table",)


def test_what_a_local_model_says_is_checked_like_a_servers(tmp_path):
    planner = local_planner(folder(tmp_path, 0), device="cpu", timeout_s=5.0)
    with pytest.raises(ValueError, match="did not answer in JSON"):
        planner(PlanRequest("clear the table"), TablePolicy(), observation())


def test_a_folder_that_cannot_be_used_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="no chat template"):
        local_planner(folder(tmp_path, 2, template=None), device="cpu", timeout_s=5.0)
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    with pytest.raises(ValueError, match="cannot load it"):
        local_planner(tmp_path, device="cpu", timeout_s=5.0)
    (tmp_path / "config.json").write_text('{"model_type": "no such"}')
    with pytest.raises(ValueError, match="cannot load it"):
        local_planner(tmp_path, device="cpu", timeout_s=5.0)


SEEING = """{% for m in messages %}{% for part in m['content'] %}{% if part['type'] == 'image' %}<image> {% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}<ask>"""
SIDE = 32


def seeing_folder(tmp_path):
    """A random LLaVA that says the answer after <ask>, whatever it sees."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}  # fmt: skip
    words = LlamaConfig(vocab_size=len(WORDS), tie_word_embeddings=False, eos_token_id=3, bos_token_id=None, pad_token_id=3, **sizes)  # fmt: skip
    sight = CLIPVisionConfig(image_size=SIDE, patch_size=SIDE // 2, projection_dim=16, **sizes)
    config = LlavaConfig(
        vision_config=sight,
        text_config=words,
        image_token_index=WORDS["<image>"],
        vision_feature_layer=-1,
    )
    model = LlavaForConditionalGeneration(config)
    with torch.no_grad():
        layer = model.model.language_model.layers[0]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
        model.model.language_model.embed_tokens.weight.copy_(torch.eye(len(WORDS), 16))
        model.lm_head.weight.zero_()
        model.lm_head.weight[WORDS[ANSWER], WORDS["<ask>"]] = 1.0
        model.lm_head.weight[WORDS["</s>"], WORDS[ANSWER]] = 1.0
    model.save_pretrained(tmp_path)
    image = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})  # fmt: skip
    LlavaProcessor(
        image, tokenizer(SEEING), patch_size=SIDE // 2, vision_feature_select_strategy="default",
        image_token="<image>", num_additional_image_tokens=1, chat_template=SEEING,
    ).save_pretrained(tmp_path)  # fmt: skip
    return tmp_path


def test_a_model_that_sees_gets_the_newest_image(tmp_path):
    from transformers import LlavaForConditionalGeneration

    planner, seen = find_planner(str(seeing_folder(tmp_path)), environment={}), []
    original = LlavaForConditionalGeneration.generate

    def generate(model, **inputs):
        seen.append(float(inputs["pixel_values"].mean()))
        return original(model, **inputs)

    spied = create_autospec(original, side_effect=generate)
    with patch.object(LlavaForConditionalGeneration, "generate", spied):
        for colour in (255, 0):
            image = np.full((48, 64, 3), colour, np.uint8)
            now = replace(observation(), images={"front": image})
            told = planner(PlanRequest("clear the table"), TablePolicy(), now)
            assert (told.kind, told.text) == (Answered.NEXT, "put the red cube in the tray")
    assert seen[0] > 1.0 and seen[1] < -1.0
