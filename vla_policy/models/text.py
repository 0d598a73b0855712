"""Tokenizers of the large language models: sentencepiece's tokenizer.model or the tokenizers library's JSON.

Checkpoint folders do not contain them, and PaliGemma's is available only on request, so the user
names their file.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from vla_policy.parsing.files import MIB, decode, one_line, read_bytes

NAMES = ("tokenizer.model", "tokenizer.json")
SUBFOLDER = "tokenizer"  # its folder in newer lerobot folders
LIMIT = 128 * MIB  # Gemma's have 4 and 35 MB


@dataclass(frozen=True, slots=True)
class TextTokenizer:
    """Text to ids of the language model and back.

    encode: without special tokens. token_id: of one token by its name, None if it does not exist.
    bos, eos: None if the vocabulary has none. source: the file, for error messages and copying.
    """

    encode: Callable[[str], list[int]]
    decode: Callable[[Sequence[int]], str]
    token_id: Callable[[str], int | None]
    size: int
    bos: int | None
    eos: int | None
    source: Path

    def __reduce__(self) -> tuple[Callable[[Path], "TextTokenizer"], tuple[Path]]:
        """Another process reads the file again: the libraries' objects cannot be pickled."""
        return load_text_tokenizer, (self.source,)


def tokenizer_of(folder: Path, vocab: int) -> TextTokenizer:
    """The tokenizer in folder, of at most vocab tokens. Raises FileNotFoundError or ValueError."""
    path = find_tokenizer(folder)
    if path is None:
        raise FileNotFoundError(f"no tokenizer in {folder}: neither {' nor '.join(NAMES)}")
    tokenizer = load_text_tokenizer(path)
    if tokenizer.size > vocab:
        raise ValueError(
            f"{path}: got a tokenizer of {tokenizer.size} tokens, the model has {vocab}"
        )
    return tokenizer


def load_text_tokenizer(path: Path) -> TextTokenizer:
    """Read tokenizer.model or tokenizer.json. Raises FileNotFoundError, or ValueError for another kind of file."""
    if path.suffix == ".model":
        return _sentencepiece(path)
    if path.suffix == ".json":
        return _tokenizers(path)
    raise ValueError(f"{path}: got a {path.suffix} file, expected {' or '.join(NAMES)}")


def find_tokenizer(folder: Path) -> Path | None:
    """The tokenizer file in folder or in its tokenizer/; None if there is none."""
    places = (place / name for place in (folder, folder / SUBFOLDER) for name in NAMES)
    return next((path for path in places if path.is_file()), None)


def read_tokenizer(path: Path) -> Tokenizer:
    """A tokenizer.json of the tokenizers library. Raises FileNotFoundError, or ValueError for anything else."""
    text = decode(_read(path), path)
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises no narrower class
        raise ValueError(f"{path}: not a readable tokenizer: {one_line(error)}") from error


def _read(path: Path) -> bytes:
    try:
        return read_bytes(path, LIMIT)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no tokenizer at {path}") from error


def _tokenizers(path: Path) -> TextTokenizer:
    tokenizer = read_tokenizer(path)
    return TextTokenizer(
        encode=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        decode=lambda ids: tokenizer.decode(list(ids)),
        token_id=tokenizer.token_to_id,
        size=tokenizer.get_vocab_size(),
        bos=_first(tokenizer.token_to_id, ("<bos>", "<s>")),
        eos=_first(tokenizer.token_to_id, ("<eos>", "</s>")),
        source=path,
    )


def _sentencepiece(path: Path) -> TextTokenizer:
    try:
        from sentencepiece import SentencePieceProcessor
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path}: reading it needs the package sentencepiece (pip install sentencepiece); "
            "a tokenizer.json is read without it"
        ) from error
    data = _read(path)
    try:
        pieces = SentencePieceProcessor(model_proto=data)
        pieces.vocab_size()  # raises for an empty file
    except (RuntimeError, OSError) as error:
        raise ValueError(f"{path}: not a readable tokenizer: {one_line(error)}") from error

    def token_id(name: str) -> int | None:
        found = pieces.piece_to_id(name)
        return None if found == pieces.unk_id() and name != "<unk>" else found

    return TextTokenizer(
        encode=lambda text: pieces.encode(text, add_bos=False, add_eos=False),
        decode=lambda ids: pieces.decode(list(ids)),
        token_id=token_id,
        size=pieces.vocab_size(),
        bos=pieces.bos_id() if pieces.bos_id() >= 0 else None,
        eos=pieces.eos_id() if pieces.eos_id() >= 0 else None,
        source=path,
    )


def _first(token_id: Callable[[str], int | None], names: tuple[str, ...]) -> int | None:
    return next((found for name in names if (found := token_id(name)) is not None), None)
