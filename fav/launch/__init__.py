"""Start nodes on this machine or on others, and follow them until they end.

`local_launcher`, `ssh_launcher`, `slurm_launcher` and `dask_launcher` each run a job in one way. By ssh: `hosts_file` is the
list of hosts, `preflight` checks them with `host_probe`, `ssh` runs one script on one host, `remote_process` starts nodes and
asks for their state, `ssh_cluster` keeps the list running. By Dask: `dask_client` runs a task on one worker, `dask_cluster`
keeps a node on each worker. By Slurm: `slurm` queues an array of nodes.
"""
