"""The tiny model's own tokenizer: words, action tokens, location tokens, in one file without network.

Format: `tokenizer.json` of the `tokenizers` library, beside the weights.
"""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

PAD, UNK, END = "<pad>", "<unk>", "<eos>"
ACTION = "<act{:03d}>"
LOCATION = "<loc{:02d}>"
ACTIONS, LOCATIONS = 256, 64

# One token each, so that the prompt costs little.
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


def load(path: Path) -> Tokenizer:
    """Raises FileNotFoundError with the path if it is not there."""
    if not path.is_file():
        raise FileNotFoundError(f"no tokenizer at {path}")
    return Tokenizer.from_file(str(path))


def encode(tokenizer: Tokenizer, text: str, length: int) -> list[int]:
    """Token ids padded with 0 at the end. Raises ValueError if text needs more than length tokens."""
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if len(ids) > length:
        raise ValueError(f"text has {len(ids)} tokens, the model takes at most {length}: {text!r}")
    return ids + [0] * (length - len(ids))
