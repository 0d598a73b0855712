"""A terminal line with a run's step, speed and losses."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Tell = Callable[[int, Mapping[str, float]], None]
SHOWN = ("loss", "held_out_loss", "samples_per_s", "waited")


@contextmanager
def progress(steps: int, first: int, *, shown: bool) -> Iterator[Tell]:
    """A function to call with the steps done and the values of the last log line."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, refresh_per_second=2, disable=not shown) as bar:
        task = bar.add_task("", total=steps, completed=first)

        def tell(step: int, numbers: Mapping[str, float]) -> None:
            words = " ".join(f"{k} {numbers[k]:.3g}" for k in SHOWN if k in numbers)
            bar.update(task, completed=step, description=words or None)

        yield tell
