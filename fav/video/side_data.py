"""Side data of frames, of whatever kind: FFmpeg knows more kinds than the table of PyAV.

PyAV makes an object of every side data of a frame before it hands out one, and its enum of kinds ends before FFmpeg's
does. So each frame with EXIF (kind 31) raised ValueError. Kinds without a name get one here, by the enum's own hook.
"""

from types import MethodType

import av
from av.sidedata.sidedata import Type


def _without_a_name(cls: type[Type], value: object) -> Type | None:
    if not isinstance(value, int):
        return None  # Python says that it is none
    kind = object.__new__(cls)
    kind._name_, kind._value_ = f"KIND_{value}", value
    return kind


Type._missing_ = MethodType(_without_a_name, Type)


def side_data(frame: av.VideoFrame, kind: str) -> bytes | None:
    """The side data of a kind (a name of `Type`), None where the frame has none of it."""
    data = frame.side_data.get(kind)
    return None if data is None else bytes(data)
