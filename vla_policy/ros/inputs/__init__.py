"""What a node receives, as values with ages."""
