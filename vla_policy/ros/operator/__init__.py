"""A person's side of a running graph."""
