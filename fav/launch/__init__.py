"""Nodes on other machines: which hosts there are, how to run something there, and which of our nodes stand there.

It knows neither pixels nor claims, and supervises no process itself: OpenSSH carries the words, the share carries the
work; Slurm starts what is queued with it (`slurm`). By ssh, the rooms are, from the bottom up: `hosts` (the hosts file),
`ssh` (one script on one host), `posts` (nodes started and asked for on a host), `fleet` (the hosts file turned into running
nodes, again and again). By Dask: `dask` (a task on one worker), `crew` (a node on each worker, as they come and go).
"""
