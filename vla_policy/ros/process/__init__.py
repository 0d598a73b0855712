"""One process: start, parameters, QoS, log, way out."""
