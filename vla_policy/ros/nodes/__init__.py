"""One module per node: parameters, subscriptions, timers, one call into the core, publish."""
