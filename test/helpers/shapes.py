"""What checks annotations of arguments and results while tests run; test/conftest.py says of which modules."""

from beartype import BeartypeConf, beartype

# An int is a float, as everywhere in Python's types.
checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
