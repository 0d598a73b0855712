"""Networks built for weights from a file, without torch's memory and random initial values.

torch's meta device would do the same. But any computation on it, such as initial values and tables
of constants, makes torch load its compiler: two seconds of CPU time in every process that loads a
model.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# The functions that fill a tensor in torch.nn.init and in the layers' reset_parameters().
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
    """Networks created inside have shapes and types, but no memory for parameters.

    Their constants are computed as usual, on the CPU.
    """
    with _Blank():
        yield
