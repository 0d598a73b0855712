"""A robot without physics that keeps the published rules of its controllers."""
