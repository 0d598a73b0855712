"""`vla <verb>`, one verb a file: arguments, one call, one exit code."""
