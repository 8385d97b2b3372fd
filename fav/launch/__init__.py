"""Start nodes on this machine or on others, and follow them until they end.

`executor` defines the interface; `local_launcher`, `ssh_launcher`, `slurm_launcher` and `dask_launcher` implement it.
For ssh: `hosts_file` parses the list of hosts, `preflight` checks them with `host_probe`, `ssh` runs one script on one
host, `remote_process` starts nodes and queries their state, `ssh_cluster` keeps them running. For Dask: `dask_client`
runs a task on one worker, `dask_cluster` keeps a node on each worker. For Slurm: `slurm` queues an array of nodes.
`program` has the commands that start a node, `errors` the root of the errors.
"""
