"""One process: start, parameters, QoS, log, shutdown."""
