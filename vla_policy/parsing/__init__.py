"""Files that somebody else wrote, read strictly and with bounded time and memory; every refusal is one sentence."""
