"""Whether a setpoint may be published; the most restrictive check wins."""
