"""What the types that come with OpenCV leave out."""

from typing import cast

import numpy as np

# None, for an output that OpenCV is to make itself and for a second map that there is none of: its functions take that, and the
# types that come with them say that they do not.
NO_ARRAY = cast(np.ndarray, None)
