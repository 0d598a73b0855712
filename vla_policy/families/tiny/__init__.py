"""The shipped `tiny` policies: columns of each robot, rolling ahead, the family itself."""

from vla_policy.families.tiny.tiny import FAMILY

__all__ = ["FAMILY"]
