"""Whole pictures of interlaced frames: FFmpeg's bwdif, one picture a frame."""

from fractions import Fraction

import av
from av.filter import Graph

TICK = Fraction(1, 50)
FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=all")


def deinterlaced(before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None) -> av.VideoFrame:
    """The frame as a whole picture at the time of its first field, made of it and its neighbours in the video.

    A function of the three alone. Neighbours of another size or format are not looked at.
    """
    alike = [one for one in (before, after) if one is not None and _kind(one) == _kind(frame)]
    around = [one for one in (before, frame, after) if one is not None]
    frames = [one for one in around if one is frame or any(one is other for other in alike)]
    graph = Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=TICK)
    graph.link_nodes(source, graph.add(*FILTER), graph.add("buffersink")).configure()
    times = [one.pts for one in frames]
    try:
        for number, one in enumerate(frames):
            one.pts = number
            graph.push(one)
        graph.push(None)
    finally:
        for one, time in zip(frames, times):
            one.pts = time
    wanted = frames.index(frame)
    for _ in range(wanted):
        graph.vpull()
    made = graph.vpull()
    made.color_range, made.colorspace = frame.color_range, frame.colorspace
    return made


def _kind(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
