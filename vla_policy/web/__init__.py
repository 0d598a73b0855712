"""The operator's page: what the cameras see, an instruction box, the state and a stop button."""
