"""Check whether a mounted directory keeps the rules that the protocol needs.

`local_checks` are those that one machine can make alone; each node makes a part of them when it joins. With `peer_group`
several machines meet through the directory. `peer_checks` and `visibility` find who wins a name, and who sees a change after
how long. `environment` tells what is worth knowing. The command is `python -m shared.fscheck`.
"""
