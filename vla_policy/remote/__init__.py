"""A policy on another machine behind the same infer: the wire, the server, and the client that is a policy."""
