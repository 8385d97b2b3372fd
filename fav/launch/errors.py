"""The root of every error of starting and following nodes."""

from fav.errors import FavError


class LaunchError(FavError):
    """Nodes cannot be started, or cannot be followed any more."""
