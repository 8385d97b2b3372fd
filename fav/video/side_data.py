"""Read side data of frames, also if FFmpeg has types that PyAV's enum lacks.

PyAV builds an object for each side data of a frame before it returns one. If the enum lacks a type, as for EXIF
(type 31), this raises ValueError. The enum's hook `_missing_` adds such types here.
"""

from types import MethodType

import av
from av.sidedata.sidedata import Type


def _unknown_type(cls: type[Type], value: object) -> Type | None:
    if not isinstance(value, int):
        return None  # Python then raises ValueError
    member = object.__new__(cls)
    member._name_, member._value_ = f"KIND_{value}", value
    return member


Type._missing_ = MethodType(_unknown_type, Type)


def side_data(frame: av.VideoFrame, type_name: str) -> bytes | None:
    """The side data of one type (a name of `Type`); None if the frame has none."""
    data = frame.side_data.get(type_name)
    return None if data is None else bytes(data)
