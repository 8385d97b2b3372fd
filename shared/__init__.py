"""The job system over one shared directory: tasks, placeholders, heartbeats, recovery, publishing.

It knows nothing of video. Its rooms, from the bottom up: `system` (the one seam to the file system,
the clock and the process table), `layout` (every path), `share` (one opened directory), `nodes`
(heartbeats and who is alive), `orders` (what the operator asks of a node), `results`, `claims`, `attempts`, `recovery`,
`jobs`, `bell`, `health`, `plan` (what a job's tasks are), `worker` (the loop that claims and runs them), `slate` (what it is
doing, for all to read) and `supervisor` (the process that keeps a worker's heart beating). `sources` tells which version of
the program it is; `fscheck/` checks a mounted directory.
"""
