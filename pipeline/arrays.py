"""Names for the types of the arrays that are handed around.

N pictures, C classes, H and W pixels.
"""

import numpy as np
import numpy.typing as npt

# (N, C): True where the class is there.
BoolMatrix = npt.NDArray[np.bool_]
# (N, C): 1 observed positive, -1 observed negative, 0 unknown.
Targets = npt.NDArray[np.int8]
# (N, C): a model's probabilities.
Probs = npt.NDArray[np.float32]
# Rows of the index, or of what was selected from it.
RowNumbers = npt.NDArray[np.int64]
# (N, H, W, 3): RGB.
Pictures = npt.NDArray[np.uint8]
Features = npt.NDArray[np.float32]
