"""Which lease a directory asks for."""

import math

from shared.nodes import HEARTBEAT_S, LEASE_S, POLL_S

SAFETY = 3  # times the longest silence that is usual: a machine may be busy, a heartbeat may go astray
RECONNECT_S = 60.0  # by which the clients of a server that was away come back one after the other


def lease(local: bool, delay: float | None) -> tuple[float, str]:
    """Seconds, and why.

    `local`: everybody sees the directory as a file system of the own machine. `delay`: seconds after which other
    machines saw a heartbeat, None where nobody looked from another machine.
    """
    if delay is None and not local:
        return LEASE_S, "it was not seen from other machines"
    silence = HEARTBEAT_S + POLL_S + (delay or 0.0)
    seconds = max(SAFETY * silence, 0.0 if local else RECONNECT_S)
    why = f"{SAFETY} times a silence of {silence:.1f} s"
    if not local:
        why += f", at least {RECONNECT_S:.0f} s for a server that was away"
    return math.ceil(seconds / 10) * 10.0, why
