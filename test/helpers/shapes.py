"""Checks annotations of arguments and results in tests; test/conftest.py selects modules."""

from beartype import BeartypeConf, beartype

# An int counts as a float, as in Python's types.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
