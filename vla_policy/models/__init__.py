"""Networks: one architecture from 3 million to 3 billion parameters. Imports torch; knows no robot."""
