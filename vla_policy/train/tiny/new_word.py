"""One new word for an object: found in the sentences, and added to a `tiny` policy's language, tokenizer and classes.

All existing entries keep their index and values, so nothing changes for sentences without the word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from tokenizers import Tokenizer
from torch import nn

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.language import Language
from vla_policy.models import tokenizer
from vla_policy.models.naming import Naming
from vla_policy.types import Reason

KINDS = ("colour", "shape")
NEVER = -12.0  # logit of a class without examples


@dataclass(frozen=True, slots=True)
class NewWord:
    """word: as in the sentences. kind: "colour" or "shape". number: its class of the second look."""

    word: str
    kind: str
    number: int


def new_word_of(language: Language, sentences: Iterable[str]) -> NewWord:
    """The one word that, as a colour or a shape, makes all sentences readable.

    Raises ValueError if no word or more than one is new, or if it names no object.
    """
    said = list(dict.fromkeys(sentences))
    unread = [s for s in said if isinstance(language.read(s), Reason)]
    if not unread:
        raise ValueError(
            f"nothing new: the policy reads {', '.join(map(repr, said[:3]))} already; expected a word that it does not know"
        )
    strange = list(dict.fromkeys(w for s in unread for w in language.strange(s)))
    if len(strange) != 1:
        got = ", ".join(map(repr, strange)) or "only known words, put together in a new way"
        raise ValueError(f"words: got {got} in {unread[0]!r}, expected one new word for a thing")
    for kind in KINDS:
        numbers = language.looks.get(kind, {})
        new = NewWord(strange[0], kind, max(numbers.values(), default=-1) + 1)
        with_it = with_word(language, new)
        if not any(isinstance(with_it.read(s), Reason) for s in unread):
            return new
    raise ValueError(
        f"words: got {strange[0]!r} in {unread[0]!r}, expected it where a colour or a shape of a thing stands"
    )


def is_new_word(language: Language, sentences: Iterable[str]) -> bool:
    """Whether exactly one word in sentences is new, and it names an object."""
    try:
        new_word_of(language, sentences)
    except ValueError:
        return False
    return True


def with_word(language: Language, new: NewWord) -> Language:
    """language that also reads the new word."""
    classes = dict(language.classes) | {new.kind: (*language.classes[new.kind], new.word)}
    looks = {kind: dict(numbers) for kind, numbers in language.looks.items()}
    looks.setdefault(new.kind, {})[new.word] = new.number
    return replace(language, classes=classes, looks=looks)


def with_token(checkpoint: Checkpoint, word: str) -> Checkpoint:
    """The checkpoint with a token for word, whose embedding is at first that of an unknown word.

    Returns the checkpoint unchanged if the word already has a token, for another use.
    """
    tokens: Tokenizer = checkpoint.tokenizer
    if tokens.token_to_id(word) is not None:
        return checkpoint
    old = checkpoint.model
    plain = json.loads(tokens.to_str())
    number = old.config.vocab  # after all ids of the network
    plain["model"]["vocab"][word] = number
    network: nn.Module = FAMILIES[checkpoint.family].network(replace(old.config, vocab=number + 1))
    unknown = tokenizer.id_of(tokens, tokenizer.UNK)
    values = network.state_dict()
    with torch.no_grad():
        for key, value in old.state_dict().items():
            if values[key].shape != value.shape:
                value = torch.cat((value, value[unknown : unknown + 1]))
            values[key].copy_(value)
    network.train(old.training)
    return replace(
        checkpoint, model=network, tokenizer=Tokenizer.from_str(json.dumps(plain)), engine=None
    )


def with_class(naming: Naming, kind: str) -> Naming:
    """naming with one more class of kind, before the background, with the logit NEVER."""
    field = f"{kind}s"
    config = replace(naming.config, **{field: getattr(naming.config, field) + 1})
    grown = Naming(replace(config, closer=naming.closer is not None))
    values = grown.state_dict()
    with torch.no_grad():
        for key, value in naming.state_dict().items():
            if values[key].shape != value.shape:
                fresh = torch.zeros_like(value[:1]) + (NEVER if value.ndim == 1 else 0.0)
                value = torch.cat((value[:-1], fresh, value[-1:]))
            values[key].copy_(value)
    return grown.eval()
