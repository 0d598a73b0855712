"""The last checks before the wire. Pure: values, bounds and times are arguments."""
