"""Named pictures from permissively licensed packages: knowledge of objects without robot data."""
