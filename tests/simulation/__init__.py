"""Nodes, a file server and all that can happen to them, in one thread, in an order drawn from a seed.

`python -m tests.simulation 7` runs seed 7 and prints what happened; `python -m tests.simulation 0:20000` runs many.
`server.py` is the file server and its clients, `world.py` time, order and faults, `play.py` one run and its verdict,
`mutations.py` wrong protocols that the verdict must find.
"""
