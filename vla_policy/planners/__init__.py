"""Planners of long tasks: plain rules over what the policy sees, a chat server, a local language model."""
