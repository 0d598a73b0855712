"""What is asked of the arm, as text, and the verdict of physics."""
