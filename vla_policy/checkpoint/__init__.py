"""A trained policy in memory: network, contract with a robot, normalisation, tokenizer."""
