"""Read the description of a robot and list what it sees, what it is commanded, and on which topics."""

from vla_policy.embodiment import embodiment_names, load_embodiment

print("shipped:", ", ".join(embodiment_names()))
robot = load_embodiment("ur5e_2f85")  # or the path of your own YAML file
print(f"{robot.name}: {robot.description}")
for camera in robot.cameras.values():
    print(f"  camera {camera.name}: {camera.topic}, {camera.type}")
print(f"  joint states: {robot.joints.topic}")
for pose in robot.poses.values():
    print(f"  tool pose: {pose.topic}")
for group in robot.actions:
    output = robot.outputs[group.name]
    print(f"  {group.name} ({group.space}): {output.topic}, {output.type}")
print(f"  a row of a chunk: {', '.join(robot.action_names)}, {robot.policy_hz:g} a second")
