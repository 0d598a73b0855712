"""Training of `small` on pictures and text: narrow robot scenes with broad web data."""
