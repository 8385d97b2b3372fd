"""Start nodes on this machine or on others, and follow them until they end.

`executor` says what each way of running a job has to do; `local_launcher`, `ssh_launcher`, `slurm_launcher` and
`dask_launcher` do it. By ssh: `hosts_file` is the list of hosts, `preflight` checks them with `host_probe`, `ssh` runs one
script on one host, `remote_process` starts nodes and asks for their state, `ssh_cluster` keeps the list running. By Dask:
`dask_client` runs a task on one worker, `dask_cluster` keeps a node on each worker. By Slurm: `slurm` queues an array of
nodes. `errors` has the root of what can go wrong.
"""
