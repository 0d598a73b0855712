"""Vision-language-action policies for real arms, on ROS 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that type checkers know this name, and no other through __getattr__
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__`, read on access from package.xml, its only source."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from vla_policy.paths import package_version

        return package_version()
