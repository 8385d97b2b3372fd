"""Times in seconds that all nodes of a directory agree on."""

LEASE_S = 180.0  # an NFS client may show an old mtime for 60 s, a rebooting server is away for 90 s
MIN_LEASE_S = 15.0  # the least that a job may ask for
HEARTBEAT_S = 4.0  # several to the shortest lease
POLL_S = 4.0  # between two looks at the heartbeats of others; a longer pause counts as this much silence
