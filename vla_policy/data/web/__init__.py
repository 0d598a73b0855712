"""Named pictures from licence-clean packages: what can be known of things without any robot data."""
