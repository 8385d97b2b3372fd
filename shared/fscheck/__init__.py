"""Does a mount keep its word? What the protocol leans on, tried out on the directory itself.

`alone` holds what one machine can find out, `quick` the part of it that every node asks when it joins;
`circle` lets several machines find each other through the directory, and `together` is what only they
can see: who wins, and who sees what after how long. `python -m shared.fscheck` is the command.
"""
