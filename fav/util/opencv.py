"""Corrections of OpenCV's type annotations."""

from typing import cast

import numpy as np

# None, for an output array that OpenCV allocates, and for an unused second map. OpenCV accepts None, but its annotations
# do not.
NO_ARRAY = cast(np.ndarray, None)
