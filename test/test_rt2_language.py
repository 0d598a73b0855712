"""Gemma 2 and whole PaliGemma models against `transformers`, live, on configs drawn anew each run."""

from types import ModuleType

import numpy as np
import pytest
import torch

from vla_policy.models.config import Gemma2Config, GemmaConfig
from vla_policy.models.gemma import Gemma, window_mask


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
