"""The errors of everything but the job system, which `shared` knows nothing of."""

from shared.errors import TYPES_BY_ERRNO, UserError, file_type, sanitize

__all__ = ["TYPES_BY_ERRNO", "FavError", "file_type", "sanitize"]


class FavError(UserError):
    """A video, a style, an option or a machine is not as it should be."""
