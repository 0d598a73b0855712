"""Training of the shipped models, in stages; each can be stopped and resumed."""
