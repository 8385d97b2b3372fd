"""How a video is read, where that is for the user to say."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SourceSettings:
    """What is heeded while a video is read.

    fps is the rate of a numbered image sequence, 25 if None; nothing else heeds it. name is what notes call the video, None
    for its path. tone_map: pictures of HDR video are brought to SDR. deinterlace: those of two fields become whole.
    """

    fps: float | None = None
    name: str | None = None
    tone_map: bool = True
    deinterlace: bool = True


AS_IT_IS = SourceSettings()
