"""The simulated robot in MuJoCo: physics, cameras, true positions."""
