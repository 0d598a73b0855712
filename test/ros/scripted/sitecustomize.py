"""With this folder on PYTHONPATH, every installed policy node runs a scripted model and no network.

It takes the place of the module that loads checkpoints; all else of the node is what is installed.
Python imports this file by its name when it starts.
"""

import sys
import types


def load(robot, *_arguments, **_options):
    from scripted_model import (
        ScriptedModel,  # not at the start of every Python that sees this file
    )

    return ScriptedModel(robot)


loads = types.ModuleType("vla_policy.ros.nodes.policy_startup")
loads.REFUSALS = (ValueError,)
loads.load = load
sys.modules[loads.__name__] = loads
