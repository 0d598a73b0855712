"""The simulated robot in MuJoCo: physics, cameras, ground truth."""
