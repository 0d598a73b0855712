"""How `small` learns what pictures and words mean: narrow robot scenes beside wide web data."""
