"""What is wrong with recorded data: one file a subject, pure functions that return findings with episode and frame."""
