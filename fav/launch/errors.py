"""The root of every error of starting and following nodes."""

from fav.errors import FavError


class LaunchError(FavError):
    """Nodes cannot be started, or can no longer be followed."""
