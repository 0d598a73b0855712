"""One more word for a thing: found in what was said, and put into what a `tiny` policy reads, says and tells apart.

Everything that was there keeps its place and its values, so that for sentences without the word nothing changes.
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
NEVER = -12.0  # logit of a class that nothing is yet


@dataclass(frozen=True, slots=True)
class NewWord:
    """word: as it is said. kind: "colour" or "shape", which words it stands among. number: its class of the second look."""

    word: str
    kind: str
    number: int


def new_word_of(language: Language, sentences: Iterable[str]) -> NewWord:
    """The one word that makes all sentences readable as a colour or as a shape.

    Raises ValueError where nothing is new, where more is new than one word, or where it names no thing.
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
    """Whether all that is new in sentences is one word for a thing."""
    try:
        new_word_of(language, sentences)
    except ValueError:
        return False
    return True


def with_word(language: Language, new: NewWord) -> Language:
    """language that reads new as well."""
    classes = dict(language.classes) | {new.kind: (*language.classes[new.kind], new.word)}
    looks = {kind: dict(numbers) for kind, numbers in language.looks.items()}
    looks.setdefault(new.kind, {})[new.word] = new.number
    return replace(language, classes=classes, looks=looks)


def with_token(checkpoint: Checkpoint, word: str) -> Checkpoint:
    """The checkpoint with a token for word; until it is learned it means what an unknown word means.

    Where the word has one already, for another use, the checkpoint as it is.
    """
    tokens: Tokenizer = checkpoint.tokenizer
    if tokens.token_to_id(word) is not None:
        return checkpoint
    old = checkpoint.model
    plain = json.loads(tokens.to_str())
    number = old.config.vocab  # behind all ids that the network has
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
    """naming with one more class of kind, before the background, that nothing is taken for."""
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
