"""Optical flow by several methods with one interface: `make("dis")(a, b)` is the flow from a to b.

The flow depends only on the two frames, bit by bit, and not on the number of OpenCV's threads. (For SPyNet, the number
of PyTorch's threads must be the same.)

    methods                             the table of methods
    dis, farneback, deepflow            methods of OpenCV
    spynet, toom_cook, raft, ptlflow    networks; `toom_cook` has SPyNet's fast convolutions
    deepflow2                           the authors' programs
    consistency, field                  the reliability of a flow; a flow with its reliability
    warp, warp_torch                    warp an image along a flow: in OpenCV, and in PyTorch with gradients
    files, io                           flow in files of the user; flow as it is published
    carry                               carry a mask along the flow
"""

from fav.flow.methods import METHODS, Flow, check, is_published, make, version_string

__all__ = ["METHODS", "Flow", "check", "is_published", "make", "version_string"]
