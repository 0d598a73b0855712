"""The arm's tasks as text, and the verdict of physics on them."""
