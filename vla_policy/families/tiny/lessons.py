"""Training of a `tiny` policy: on demonstrations, and by the lessons pointing and answers."""

from dataclasses import replace
from types import MappingProxyType

from vla_policy.families import losses
from vla_policy.families.tiny import answers_training, pointing_training, tiny_training

POINTING, ANSWERS = "pointing", "answers"

TRAINING = replace(
    tiny_training.TRAINING,
    lessons=MappingProxyType(
        {
            POINTING: replace(
                tiny_training.TRAINING,
                example=pointing_training.example,
                collate=pointing_training.collate,
                loss=pointing_training.loss,
            ),
            ANSWERS: replace(
                tiny_training.TRAINING,
                example=answers_training.example,
                collate=losses.collate,
                loss=answers_training.loss,
            ),
        }
    ),
)
