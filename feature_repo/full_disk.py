"""How a full disk, or a share of one, is told: there may be room again."""

import os
from errno import EDQUOT, ENOSPC

FULL = frozenset({ENOSPC, EDQUOT})
"""The numbers of an `OSError`."""
FULL_REASONS = tuple(os.strerror(number) for number in sorted(FULL))
"""What is in the message of a library that has errors of its own for files."""
