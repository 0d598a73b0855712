"""This project's own checkpoint folder."""
