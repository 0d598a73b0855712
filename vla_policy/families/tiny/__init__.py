"""The shipped `tiny` policies: columns of each robot, rolling forward, the family itself."""

from vla_policy.families.tiny.tiny import FAMILY

__all__ = ["FAMILY"]
