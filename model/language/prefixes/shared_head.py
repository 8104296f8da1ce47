"""The tokens that all prompts of a training begin with, such as a task line: their keys and values are kept once.

Belongs here: finding them; pure functions. Does not: their keys and values (`model.language.prefixes.cache`).
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


def common_head(rows: Iterable[Tokens]) -> Tokens:
    """Give the leading tokens that all rows but the empty ones have in common; none of fewer than two rows."""
    # What the least and the greatest of some byte strings begin with, all those between them begin with.
    texts = {row.tobytes() for row in rows if len(row)}
    if len(texts) < 2:
        return np.zeros(0, dtype=np.int32)
    first, last = (np.frombuffer(text, dtype=np.int32) for text in (min(texts), max(texts)))
    shortest = min(len(first), len(last))
    differs = np.flatnonzero(first[:shortest] != last[:shortest])
    return first[: differs[0] if len(differs) else shortest].copy()


def begins_with(row: Tokens, head: Tokens) -> bool:
    """Tell whether a row begins with some tokens."""
    return len(head) > 0 and np.array_equal(row[: len(head)], head)
