"""A policy on another machine behind the same infer: wire format, server, and client."""
