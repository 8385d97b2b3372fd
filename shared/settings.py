"""Times in seconds that are the same for all nodes of a shared directory."""

LEASE_S = 180.0  # default; an NFS client may show an old mtime for 60 s, a rebooting server is down for 90 s
MIN_LEASE_S = 15.0  # the shortest lease of a job
HEARTBEAT_S = 4.0  # between two renewals: several within the shortest lease
POLL_S = 4.0  # between two polls of the heartbeats; a longer gap counts as this much silence
