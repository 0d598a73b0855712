"""Vision-language-action policies for real arms, on ROS 2."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that a checker knows this name, and no other by the function below
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """`__version__`, read when it is asked for from package.xml, which alone holds it."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from vla_policy.paths import package_version

        return package_version()
