"""Views of episodes: one self-contained HTML file, or a recording for Rerun."""
