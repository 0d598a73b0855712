"""Names and values of Fast DDS that the doctor reads and nodes set."""

from __future__ import annotations

PROFILES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")


TRANSPORTS, FAST_DDS = "FASTDDS_BUILTIN_TRANSPORTS", "rmw_fastrtps_cpp"


# UDP and shared memory, as by default, to reach every DDS; twice 4 MB of shared memory.
ROOMY = "DEFAULT?sockets_size=4MB"
