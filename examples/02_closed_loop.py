"""Let a shipped policy try two tasks on the simulated arm; physics says whether it succeeded."""

from vla_policy.embodiment import load_embodiment
from vla_policy.evaluate.closed_loop import Pace
from vla_policy.evaluate.rollout import roll_out
from vla_policy.evaluate.suites import SUITES, trial
from vla_policy.policy import load_policy
from vla_policy.sim.world.world import World

robot = load_embodiment("vx300s")
policy = load_policy("tiny", embodiment=robot.name)
world = World(renderer="auto", robot=robot.name)
for index in range(2):
    scene, task = trial(SUITES["pick_put"], seed=0, index=index)
    result = roll_out(policy, world, scene, task, embodiment=robot, pace=Pace(), moves=True)
    print(
        f"{task.instruction}: {'done' if result.success else result.failure}, {result.seconds} s"
    )
