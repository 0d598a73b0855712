"""Gemma 2 and whole PaliGemma models against `transformers`, live, on configs drawn anew each run."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from vla_policy.formats.foreign import paligemma
from vla_policy.models import token_head
from vla_policy.models.config import Gemma2Config, GemmaConfig
from vla_policy.models.gemma import Gemma, window_mask
from vla_policy.models.paligemma import LANGUAGE, rt2
from vla_policy.models.vla import VLA


@pytest.fixture(scope="module")
def transformers() -> ModuleType:
    return pytest.importorskip("transformers", reason="a reference: pip install transformers")


@pytest.fixture
def rng() -> np.random.Generator:
    seed = int(np.random.SeedSequence().entropy % 2**31)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    torch.manual_seed(seed)
    return np.random.default_rng(seed)


def draw(rng: np.random.Generator, *, second: bool) -> GemmaConfig:
    kv = int(rng.integers(1, 3))
    heads = kv * int(rng.integers(1, 4))
    head_dim = 2 * int(rng.integers(2, 9))
    gemma2 = Gemma2Config(
        query_scalar=int(rng.integers(4, 40)),
        attention_cap=float(rng.uniform(1, 10)),
        logit_cap=float(rng.uniform(1, 10)),
        window=int(rng.integers(2, 7)),
    )
    return GemmaConfig(
        heads * int(rng.integers(1, 9)), int(rng.integers(2, 5)), int(rng.integers(8, 50)), heads, kv,
        head_dim, gemma2 if second else None,
    )  # fmt: skip


def language_settings(config: GemmaConfig, vocab: int) -> dict:
    settings = {
        "vocab_size": vocab, "hidden_size": config.width, "intermediate_size": config.mlp,
        "num_hidden_layers": config.depth, "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads, "head_dim": config.head_dim,
    }  # fmt: skip
    if config.gemma2 is None:
        return settings | {"model_type": "gemma"}
    return settings | {
        "model_type": "gemma2", "query_pre_attn_scalar": config.gemma2.query_scalar,
        "attn_logit_softcapping": config.gemma2.attention_cap,
        "final_logit_softcapping": config.gemma2.logit_cap, "sliding_window": config.gemma2.window,
    }  # fmt: skip


def test_gemma2_is_transformers_gemma2(transformers: ModuleType, rng: np.random.Generator) -> None:
    config = draw(rng, second=True)
    theirs = transformers.Gemma2Model(
        transformers.Gemma2Config(**language_settings(config, 8), attn_implementation="eager")
    ).eval()
    mine = Gemma(config).eval()
    weights = {k: torch.randn_like(v) * 0.3 for k, v in mine.state_dict().items()}
    mine.load_state_dict(weights)
    theirs.load_state_dict(weights | {"embed_tokens.weight": torch.zeros(8, config.width)})
    s = 11
    x = torch.randn(2, s, config.width)
    positions = torch.arange(s).expand(2, s)
    mask = torch.ones(2, s, s, dtype=torch.bool).tril()
    with torch.no_grad():
        expected = theirs(inputs_embeds=x).last_hidden_state
        got, _ = mine(x, positions, mask)
        _, cache = mine(x[:, :6], positions[:, :6], mask[:, :6, :6])
        tail, _ = mine(x[:, 6:], positions[:, 6:], mask[:, 6:], cache)
    torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(tail, got[:, 6:], atol=2e-5, rtol=1e-5)


def test_window_by_hand() -> None:
    causal = torch.ones(1, 4, 4, dtype=torch.bool).tril()
    expected = [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert window_mask(causal, 2)[0].int().tolist() == expected
    assert window_mask(causal[:, 2:], 2)[0].int().tolist() == expected[2:]
    both_ways = torch.ones(1, 4, 4, dtype=torch.bool)
    assert torch.equal(window_mask(both_ways, 2), both_ways)


VOCAB, IMAGE_ID, PREFIX = 60, 59, 7
FINAL_CAP = (5, 23)  # of `transformers`; the last for Python 3.10 leaves it out of PaliGemma 2
LAYOUTS = ("hub", "4.52", "5")  # save_pretrained writes the hub's, whatever the version


def paligemma_of(transformers: ModuleType, rng: np.random.Generator, *, second: bool) -> Any:
    """A small random PaliGemma of `transformers` with two to four image tokens a side."""
    language = draw(rng, second=second)
    heads, side = int(rng.integers(1, 4)), int(rng.integers(2, 5))
    width = heads * int(rng.integers(2, 9))
    vision = {
        "hidden_size": width, "intermediate_size": int(rng.integers(8, 40)), "image_size": 4 * side,
        "num_hidden_layers": int(rng.integers(1, 4)), "num_attention_heads": heads, "patch_size": 4,
        "projection_dim": language.width, "model_type": "siglip_vision_model",
        "vision_use_head": False,
    }  # fmt: skip
    config = transformers.PaliGemmaConfig(
        text_config=language_settings(language, VOCAB), vision_config=vision,
        image_token_id=IMAGE_ID, projection_dim=language.width,
    )  # fmt: skip
    config._attn_implementation = "eager"
    model = transformers.PaliGemmaForConditionalGeneration(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(std=0.3)
    model.generation_config.eos_token_id = None
    return model


def _version(package: ModuleType) -> tuple[int, ...]:
    return tuple(int(number) for number in package.__version__.split(".")[:2])


def save(model: Any, folder: Path, layout: str) -> None:
    """What save_pretrained writes, or the names that a version has in memory, beside a tokenizer."""
    model.save_pretrained(folder)
    if layout != "hub":
        inner = "vision_tower.vision_model." if layout == "4.52" else "vision_tower."
        tensors = {
            k.replace("vision_tower.", inner): v.clone() for k, v in model.state_dict().items()
        }
        save_file(tensors, folder / "model.safetensors")
    words = {"<pad>": 0, "<eos>": 1, "<bos>": 2} | {f"w{i}": i for i in range(3, VOCAB)}
    Tokenizer(WordLevel(words, unk_token="w3")).save(str(folder / "tokenizer.json"))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("second", [False, True], ids=["paligemma", "paligemma2"])
def test_paligemma_is_transformers_paligemma(
    transformers: ModuleType, rng: np.random.Generator, tmp_path: Path, second: bool, layout: str
) -> None:
    theirs = paligemma_of(transformers, rng, second=second)
    save(theirs, tmp_path, layout)
    mine, _ = paligemma.load(tmp_path, cameras=1, rows=1)
    assert (mine.config.language.gemma2 is not None) == second
    side = mine.config.vision.image_px
    images = torch.randn(2, 3, side, side)
    text = torch.from_numpy(rng.integers(4, IMAGE_ID, (2, PREFIX)))
    suffix = torch.from_numpy(rng.integers(4, IMAGE_ID, (2, 5)))
    count = (side // 4) ** 2
    ids = torch.cat((torch.full((2, count), IMAGE_ID), text), 1)
    with torch.no_grad():
        seen = mine.vision(images)
        prefix = mine.prefix(seen, text, torch.empty(2, 0))
        later, _ = mine.continue_with(prefix, suffix)
        got = torch.cat((token_head.after_prefix(mine, prefix)[:, None], later), 1)
        both = torch.cat((ids, suffix), 1)
        types = torch.cat((torch.zeros_like(ids), torch.ones_like(suffix)), 1)
        expected = theirs(
            input_ids=both, pixel_values=images, token_type_ids=types,
            attention_mask=torch.ones_like(both),
        ).logits[:, ids.shape[1] - 1 :]  # fmt: skip
        if second and _version(transformers) < FINAL_CAP:
            cap = theirs.config.text_config.final_logit_softcapping
            expected = cap * torch.tanh(expected / cap)
        features = theirs.get_image_features(images).pooler_output
        written = theirs.generate(
            input_ids=ids[:1], pixel_values=images[:1], token_type_ids=torch.zeros_like(ids[:1]),
            attention_mask=torch.ones_like(ids[:1]), max_new_tokens=8, do_sample=False,
        )[0, ids.shape[1] :]  # fmt: skip
        one = mine.prefix(seen[:1], text[:1], torch.empty(1, 0))
        own, _, _ = token_head.write(
            mine, one, token_head.after_prefix(mine, one), limit=8, stop_id=-1
        )
    torch.testing.assert_close(mine.projector(seen), features, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got, expected, atol=5e-5, rtol=5e-5)
    assert own == written.tolist()


def test_a_folder_that_does_not_fit_is_refused(
    transformers: ModuleType, rng: np.random.Generator, tmp_path: Path
) -> None:
    save(paligemma_of(transformers, rng, second=True), tmp_path, "hub")
    whole = load_file(tmp_path / "model.safetensors")
    header = json.loads((tmp_path / "config.json").read_text())

    def refused(match: str, tensors: dict | None = None, **changed: Any) -> None:
        save_file(whole if tensors is None else tensors, tmp_path / "model.safetensors")
        (tmp_path / "config.json").write_text(json.dumps(header | changed))
        with pytest.raises(ValueError, match=match):
            paligemma.load(tmp_path, cameras=1, rows=1)

    norm = "language_model.model.norm.weight"
    refused(
        r"missing    language\.norm\.weight",
        {k: v for k, v in whole.items() if k != norm},
    )
    refused("unexpected stray", whole | {"stray": torch.zeros(1)})
    refused(
        r"shape      language_model\.model\.norm\.weight: file \(1, 1\)",
        whole | {norm: torch.zeros(1, 1)},
    )
    refused(r"not finite language_model\.model\.norm", whole | {norm: whole[norm] * torch.nan})
    refused("lm_head.weight differs", whole | {"lm_head.weight": torch.zeros(2, 2)})
    refused("model_type is 'llava', expected 'paligemma'", model_type="llava")
    text = header["text_config"]
    refused("says 99 heads", text_config=text | {"num_attention_heads": 99})
    refused("softcapping is null", text_config=text | {"final_logit_softcapping": None})
    (tmp_path / "model.safetensors").write_bytes(b"cut off")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        paligemma.load(tmp_path, cameras=1, rows=1)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ValueError, match=r"pytorch_model\.bin: a pickle file can run code"):
        paligemma.load(tmp_path, cameras=1, rows=1)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match="behind Google's licence"):
        paligemma.load(tmp_path, cameras=1, rows=1)


def test_published_sizes() -> None:
    sizes = {}
    for name in LANGUAGE:
        with torch.device("meta"):
            sizes[name] = sum(p.numel() for p in VLA(rt2(name)).parameters())
    assert sizes == {
        "rt2-paligemma-3b": 2_923_466_480,
        "rt2-paligemma2-3b": 3_032_242_416,
        "rt2-paligemma2-10b": 9_662_638_832,
        "rt2-paligemma2-28b": 27_650_487_024,
    }
