"""What the job system reports; each message is one line with its cure."""


def plain(text: object, most: int = 200) -> str:
    """What somebody wrote, fit for one line of a terminal: no control character of any kind, and not without end."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text)[:most])


class ShareError(Exception):
    """The shared directory, or what lies in it, is not as it should be."""


class Evicted(ShareError):
    """This node's heartbeat file is gone: others took it for dead, so it has to join again."""


class InputVanished(ShareError):
    """A published input that was seen is not there any more: read the state again."""


class JobGone(ShareError):
    """The job's directory is gone: it was cleaned while this node worked on it."""


class Stopped(ShareError):
    """The node was asked to stop while it waited."""


class Unwell(ShareError):
    """This node fails at what is done already: a fresh process is to show whether the node is sick."""
