"""The one place that imports mujoco.

mujoco reads MUJOCO_GL while it is imported and refuses to load where the library it names is
missing. Which renderer is used is decided later (render.py), so nothing is named here.
"""

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import mujoco

__all__ = ["mujoco"]
