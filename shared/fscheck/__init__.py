"""Check whether a mounted directory has the properties that the protocol needs.

`local_checks` need one machine; each node runs some of them when it joins. `peer_group` connects several machines
through the directory. `peer_checks` race them for names; `visibility` measures when they see each other's changes.
`environment` reports further facts; each is a `finding`. The command is `python -m shared.fscheck`.
"""
