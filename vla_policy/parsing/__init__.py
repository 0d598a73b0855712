"""Plain YAML and JSON read strictly: every refusal states file, line, got and expected."""
