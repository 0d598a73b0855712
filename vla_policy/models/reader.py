"""What text alone tells: heads over the vector of a whole sentence, trained on pairs of a text and its answer.

There is no parser. Two readings say which figures a sentence has, and one linear layer, learned from answers, says which number that
is; so a sum that no training text has can be right as well. Whether it is clear which one thing a sentence means is learned too.
What a figure looks like is learned from pictures, as a vector in place of a sentence's.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

FIGURES = 10  # 0 to 9; one more class for none
SURE = 0.5  # least probability of both readings together, and of a sentence that is unclear
OFF = 0.4  # largest distance of the number from a whole one


class Reader(nn.Module):
    """Heads of sentence vectors, centred and scaled as models/wide.py does."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.readings = _head(text_width, width, 2 * (FIGURES + 1))
        self.number = nn.Linear(2 * (FIGURES + 1), 1)
        self.unclear = _head(text_width, width // 2, 1)
        # In place of a sentence's vector: what each figure is looked for by.
        self.says = nn.Parameter(torch.zeros(FIGURES, text_width))

    def read(self, text: Float[Tensor, "... t"]) -> Float[Tensor, "... 2 f"]:
        """Logits of the smaller and the larger figure of a sentence; the last: none. One alone is the smaller."""
        logits: Tensor = self.readings(text).unflatten(-1, (2, FIGURES + 1))
        return logits

    def value(self, readings: Float[Tensor, "... 2 f"]) -> Float[Tensor, "..."]:
        """The number that a sentence with these readings means."""
        value: Tensor = FIGURES * self.number(readings.softmax(-1).flatten(-2))[..., 0]
        return value

    def figure(self, text: Float[Tensor, " t"]) -> int | None:
        """The figure that a sentence names or amounts to; None: none, or not surely."""
        readings = self.read(text)
        best = readings.softmax(-1).max(-1)
        value = float(self.value(readings))
        whole = round(value)
        if int(best.indices[0]) == FIGURES or float(best.values.prod()) < SURE:
            return None
        return whole if abs(value - whole) < OFF and 0 <= whole < FIGURES else None

    def is_unclear(self, text: Float[Tensor, " t"]) -> bool:
        """Whether a sentence leaves open which one thing it means: it names several, or corrects itself, or names none."""
        return float(self.unclear(text).sigmoid()) >= SURE


def _head(wide: int, width: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Dropout(0.1), nn.Linear(wide, width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(width, out)
    )
