"""The instructions of a policy after a run: those it knew before, and the tasks of the data."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.language import ARTICLES, Language, heard
from vla_policy.train.adapters import reached
from vla_policy.train.optimiser import part_of
from vla_policy.train.run import Run
from vla_policy.train.tiny.new_word import with_token
from vla_policy.types import Reason, required

EXAMPLES = 6
THING, PLACEHOLDER = "{thing}", "qthingq"
THINGS_SHOWN = 2  # different things of which the same must have been said


def taught(checkpoint: Checkpoint, run: Run, sentences: Iterable[str]) -> Checkpoint:
    """The checkpoint as it is when it has learned sentences.

    Its reports of absent objects depend on the features of its vision: where these change it reports none.
    """
    language = checkpoint.language
    if language is None:
        return checkpoint
    if run.weights == "random":  # what it could read is forgotten
        language = replace(language, forms=(), examples=())
    said = list(dict.fromkeys(sentences))
    if run.weights == "policy" and run.adapter is None and checkpoint.family == "tiny":
        for word in dict.fromkeys(w for s in said for w in language.strange(s)):
            checkpoint = with_token(checkpoint, word)
    language = with_sentences(language, said)
    if run.weights == "policy" and vision_stays(checkpoint, run):
        return replace(checkpoint, language=language)
    return replace(checkpoint, language=replace(language, least=None), naming=None)


def vision_stays(checkpoint: Checkpoint, run: Run) -> bool:
    """Whether a run leaves vision as it is."""
    if run.adapter is None:
        return "vision" in run.freeze
    training = required(FAMILIES[checkpoint.family].training, f"{checkpoint.family}: training")
    covered = reached(checkpoint, run.adapter)
    return "vision" not in (run.adapter.whole or ()) and not any(
        part_of(name, training.parts) == "vision" for name in covered
    )


def with_sentences(language: Language, sentences: Iterable[str]) -> Language:
    """Each as a form of its own, word for word, where it is not among the forms already.

    What is said of two different things at least is said of any: then the form has the thing open.
    """
    new = [s for s in dict.fromkeys(sentences) if isinstance(language.read(s), Reason)]
    new = [s for s in new if not set("{}") & set(s)]
    opened = {s: _opened(language, s) for s in new}
    common = Counter(form for form in opened.values() if form is not None)
    forms: dict[tuple[str, str], None] = {}
    for sentence in new:
        form = opened[sentence]
        if form is not None and common[form] >= THINGS_SHOWN:
            forms[
                language.bare(form.replace(THING, PLACEHOLDER)).replace(PLACEHOLDER, THING), form
            ] = None
        else:
            forms[" ".join(heard(sentence)), sentence] = None
    examples = (*language.examples, *new)[:EXAMPLES]
    return replace(language, forms=(*language.forms, *forms), examples=examples)


def _opened(language: Language, sentence: str) -> str | None:
    """The sentence with {thing} for the longest words that name one; None where there are none."""
    words = heard(sentence)
    spans = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    for i, j in sorted(spans, key=lambda span: span[0] - span[1]):
        inner = " ".join(w for w in words[i:j] if w not in ARTICLES)
        if words[i] not in ARTICLES and len(words) > j - i and language.names_thing(inner):
            return " ".join((*words[:i], THING, *words[j:]))
    return None
