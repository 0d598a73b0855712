"""The tiny model's own tokenizer: words, action tokens, location tokens, in one file without network.

Format: `tokenizer.json` of the `tokenizers` library, beside the weights.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from vla_policy.models.text import read_tokenizer

PAD, UNK, END = "<pad>", "<unk>", "<eos>"
ACTION = "<act{:03d}>"
LOCATION = "<loc{:02d}>"
ACTIONS, LOCATIONS = 256, 64

# One token each, to keep the prompt short.
QUESTIONS = {
    "action": "Q: what action should the robot take to",
    "name": "Q: which object is asked for by",
    "point": "Q: where is the object asked for by",
}
ANSWER = "? A:"


def build(words: Iterable[str]) -> Tokenizer:
    """A word tokenizer over words (lower case) plus punctuation, questions, action and location tokens."""
    special = [PAD, UNK, END, ANSWER, *QUESTIONS.values()]
    special += [LOCATION.format(i) for i in range(LOCATIONS)] + [
        ACTION.format(i) for i in range(ACTIONS)
    ]
    vocabulary = {token: i for i, token in enumerate([*special, *sorted(set(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    tokenizer.add_special_tokens(special)
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(
        Regex(r"[a-z0-9]+|[^\sa-z0-9]"), "removed", invert=True
    )
    return tokenizer


def prompt(question: str, instruction: str) -> str:
    """The text the language model reads. question: a key of QUESTIONS. Source: RT-2 section 3.2."""
    return f"{QUESTIONS[question]} {clean(instruction)} {ANSWER}"


def clean(instruction: str) -> str:
    """One line, single spaces, lower case, no closing full stop."""
    return " ".join(instruction.lower().replace("_", " ").split()).rstrip(".! ")


def load(path: Path, vocab: int) -> Tokenizer:
    """vocab: number of ids. Raises FileNotFoundError, or ValueError for another tokenizer."""
    tokenizer = read_tokenizer(path)
    known = tokenizer.get_vocab(with_added_tokens=True)
    wanted = [PAD, UNK, END, ANSWER, *QUESTIONS.values()]
    if missing := [token for token in wanted if token not in known]:
        raise ValueError(f"{path}: got no token {missing[0]!r}, expected one")
    if not max(known.values()) < vocab:
        raise ValueError(f"{path}: got the id {max(known.values())}, the model has {vocab}")
    for form, count in ((ACTION, ACTIONS), (LOCATION, LOCATIONS)):
        ids = [known.get(form.format(i)) for i in range(count)]
        if ids[0] is None or ids != list(range(ids[0], ids[0] + count)):
            raise ValueError(
                f"{path}: got other ids for {form.format(0)} .. {form.format(count - 1)}, "
                f"expected {count} in a row"
            )
    return tokenizer


def id_of(tokenizer: Tokenizer, token: str) -> int:
    """The id of token. Raises ValueError if the tokenizer has no such token."""
    number = tokenizer.token_to_id(token)
    if number is None:
        raise ValueError(f"tokenizer: got none with the token {token!r}, expected one")
    return number


def encode(tokenizer: Tokenizer, text: str, length: int) -> list[int]:
    """Token ids padded with 0 at the end. Raises ValueError if text needs more than length tokens."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) > length:
        raise ValueError(f"text has {len(ids)} tokens, the model takes at most {length}: {text!r}")
    return ids + [0] * (length - len(ids))
