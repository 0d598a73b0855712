"""What a policy may be told after a run: what it could be told before, and the tasks of the data."""

from collections.abc import Iterable
from dataclasses import replace

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families.language import Language, heard
from vla_policy.train.run import Run
from vla_policy.types import Reason

EXAMPLES = 6


def taught(checkpoint: Checkpoint, run: Run, sentences: Iterable[str]) -> Checkpoint:
    """The checkpoint as it is when it has learned sentences.

    What it tells of absent things rests on the features of its vision: where these change it cannot tell any more.
    """
    language = checkpoint.language
    if language is None:
        return checkpoint
    if run.weights == "random":  # what it could read is forgotten
        language = replace(language, forms=(), examples=())
    language = with_sentences(language, sentences)
    if run.weights == "policy" and "vision" in run.freeze:
        return replace(checkpoint, language=language)
    return replace(checkpoint, language=replace(language, least=None), naming=None)


def with_sentences(language: Language, sentences: Iterable[str]) -> Language:
    """Each as a form of its own, word for word, where it is not among the forms already."""
    new = [s for s in dict.fromkeys(sentences) if isinstance(language.read(s), Reason)]
    forms = tuple((" ".join(heard(s)), s) for s in new if not set("{}") & set(s))
    examples = (*language.examples, *(said for _, said in forms))[:EXAMPLES]
    return replace(language, forms=(*language.forms, *forms), examples=examples)
