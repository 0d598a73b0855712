"""A list of modules of one type, so that type checkers know a layer's members."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Generic, TypeVar

from torch import nn

Layer = TypeVar("Layer", bound=nn.Module)


class Layers(nn.ModuleList, Generic[Layer]):
    """nn.ModuleList, whose entries are all of one type. They have the same names in a state_dict."""

    if TYPE_CHECKING:

        def __iter__(self) -> Iterator[Layer]: ...

        def __getitem__(self, index: int) -> Layer: ...  # type: ignore[override]  # no slices
