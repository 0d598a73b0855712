"""Networks; torch, no robot."""
