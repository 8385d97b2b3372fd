"""Optical flow by several methods with one interface: `make("dis")(a, b)` is the flow from a to b.

The flow depends only on the two frames, bit by bit, and not on the number of OpenCV's threads. (For SPyNet, the number
of PyTorch's threads must be the same.)
"""

from fav.flow.methods import METHODS, Flow, check, is_published, make, version_string

__all__ = ["METHODS", "Flow", "check", "is_published", "make", "version_string"]
