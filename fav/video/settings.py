"""The settings of decoding that a user can choose."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceSettings:
    """How to read a video.

    Attributes:
        fps: frame rate of a numbered image sequence; None: 25. Other videos ignore it.
        name: of the video in notes to the user; None: its path.
        tone_map: convert HDR to SDR.
        deinterlace: convert interlaced frames to progressive ones.
        sphere: it is a 360° video, even if it is not marked as one.
    """

    fps: float | None = None
    name: str | None = None
    tone_map: bool = True
    deinterlace: bool = True
    sphere: bool = False


DEFAULT_SETTINGS = SourceSettings()
