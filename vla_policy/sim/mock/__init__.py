"""A robot without physics that enforces the published rules of its controllers."""
