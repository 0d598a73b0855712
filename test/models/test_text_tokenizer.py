"""Tokenizers that do not come with a checkpoint."""

import sys
from pathlib import Path

import pytest
from pi0_folders import GOLDEN, characters, observation, policy_file
from worker_copy import as_a_worker_gets

from vla_policy.families import pi0
from vla_policy.models.text import load_text_tokenizer
from vla_policy.policy import load_policy


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


def test_another_process_reads_the_file_again(tmp_path: Path) -> None:
    here = load_text_tokenizer(characters(tmp_path / "tokenizer.json"))
    there = as_a_worker_gets(here)
    assert there.source == here.source and there.size == here.size
    assert there.encode("pick up the cube") == here.encode("pick up the cube")
