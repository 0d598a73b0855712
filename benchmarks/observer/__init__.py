"""Plays what the control path sends as the robot's controllers would, and judges what they play.

It shares no code and no assumption with what it judges: limits are read from the robot's YAML file, the
controllers are written from their published behaviour, and only adapter.py knows the product.
"""
