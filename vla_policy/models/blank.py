"""Networks whose weights come from a file: built without the memory and random numbers that torch begins with.

All of torch's meta device would do, too. But whatever is computed there, first values and tables of constants, makes
torch load its compiler: two seconds of a processor in every process that reads a model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# What fills a tensor in torch.nn.init and in the layers' own reset_parameters().
FIRST_VALUES = frozenset({"normal_", "uniform_", "kaiming_uniform_"})


class _Blank(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = {} if kwargs is None else dict(kwargs)
        if getattr(func, "__name__", "") in FIRST_VALUES:
            return args[0] if args else named["tensor"]
        if func is torch.empty and named.get("device") is None:
            named["device"] = "meta"
        return func(*args, **named)


@contextmanager
def without_weights() -> Iterator[None]:
    """Networks made inside have shapes and types; what torch fills with first values has no memory.

    Their constants are computed as always, on the processor.
    """
    with _Blank():
        yield
