"""The instructions of a policy after a run: those it knew before, and the tasks of the data."""

from collections.abc import Iterable
from dataclasses import replace

from vla_policy.checkpoint.checkpoint import Checkpoint
from vla_policy.families import FAMILIES
from vla_policy.families.language import Language, heard
from vla_policy.train.adapters import reached
from vla_policy.train.optimiser import part_of
from vla_policy.train.run import Run
from vla_policy.types import Reason, required

EXAMPLES = 6


def taught(checkpoint: Checkpoint, run: Run, sentences: Iterable[str]) -> Checkpoint:
    """The checkpoint as it is when it has learned sentences.

    Its reports of absent objects depend on the features of its vision: where these change it reports none.
    """
    language = checkpoint.language
    if language is None:
        return checkpoint
    if run.weights == "random":  # what it could read is forgotten
        language = replace(language, forms=(), examples=())
    language = with_sentences(language, sentences)
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
    """Each as a form of its own, word for word, where it is not among the forms already."""
    new = [s for s in dict.fromkeys(sentences) if isinstance(language.read(s), Reason)]
    forms = tuple((" ".join(heard(s)), s) for s in new if not set("{}") & set(s))
    examples = (*language.examples, *(said for _, said in forms))[:EXAMPLES]
    return replace(language, forms=(*language.forms, *forms), examples=examples)
