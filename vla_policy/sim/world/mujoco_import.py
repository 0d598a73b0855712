"""The only import of mujoco.

mujoco reads MUJOCO_GL while it is imported and refuses to load without the library that it names.
The renderer is chosen later (render.py), so no name is set here.
"""

import os

os.environ.setdefault("MUJOCO_GL", "disable")

import mujoco

__all__ = ["mujoco"]
