"""Numbers of a dataset that its workers see change, as the process that made them does.

Belongs here: the shared memory. Does not: what the numbers mean (`loaders.windows.base`).

A DataLoader sends each worker a copy of its dataset, and persistent workers keep that copy: what is changed afterwards
is changed in shared memory, or the workers go on with what was.
"""

import mmap
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor


class SharedNumbers:
    """A few integers. Forked and spawned workers share them; copies made by `copy` and `copy.deepcopy` do not."""

    def __init__(self, values: Sequence[int]) -> None:
        # Anonymous shared memory, for forks: it takes no file descriptor, of which thousands of datasets would run out.
        self._view = np.frombuffer(mmap.mmap(-1, 8 * len(values)), dtype=np.int64)
        self._view[:] = values
        self._sent: Tensor | None = None

    def __getitem__(self, place: int) -> int:
        return int(self._view[place])

    def __setitem__(self, place: int, value: int) -> None:
        self._view[place] = value
        if self._sent is not None:
            self._sent[place] = value

    def __copy__(self) -> Self:
        return type(self)(self._view.tolist())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __getstate__(self) -> Tensor:
        if self._sent is None:
            # torch sends shared memory as such to processes that it starts, and as its values anywhere else.
            self._sent = torch.tensor(self._view.tolist(), dtype=torch.int64)
            self._sent.share_memory_()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return self._sent

    def __setstate__(self, sent: Tensor) -> None:
        self._sent = sent
        self._view = sent.numpy()
