"""From one kind of checkpoint folder to another."""
