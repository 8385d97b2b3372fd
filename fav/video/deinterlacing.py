"""Deinterlace frames with FFmpeg's filter bwdif: one progressive frame for each interlaced one."""

from fractions import Fraction

import av
from av.filter import Graph

TICK = Fraction(1, 50)
FILTER = ("bwdif", "mode=send_frame:parity=auto:deint=all")


def deinterlaced(before: av.VideoFrame | None, frame: av.VideoFrame, after: av.VideoFrame | None) -> av.VideoFrame:
    """Deinterlace a frame, at the time of its first field.

    The result depends only on the three frames.

    Args:
        before: the previous frame of the video; ignored if its size or format differs.
        frame: the interlaced frame.
        after: the next frame of the video; ignored if its size or format differs.
    """
    alike = [one for one in (before, after) if one is not None and _format(one) == _format(frame)]
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
    position = frames.index(frame)
    for _ in range(position):
        graph.vpull()
    progressive = graph.vpull()
    progressive.color_range, progressive.colorspace = frame.color_range, frame.colorspace
    return progressive


def _format(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name
