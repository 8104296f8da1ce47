"""What lies between two convolutions: activation, residual sums, pooling, and the change from one layout to the next.

Belongs here: these steps as the library's own operations, each a pass over memory. Does not: the same in one pass each
(`builders.extractors.sei.fused`), the convolutions (`builders.extractors.sei.tiled_conv`).
"""

import os
import shutil
from importlib.util import find_spec
from typing import NamedTuple, Protocol

import torch

from builders.extractors.sei.tiled_conv import Buffer, Conv, Layout


def can_fuse() -> bool:
    """Say whether Triton is here, and the C compiler with which it builds what launches its kernels."""
    compilers = (os.environ.get("CC"), "gcc", "clang")
    return find_spec("triton") is not None and any(shutil.which(name) for name in compilers if name)


class Onward(NamedTuple):
    """The input of a convolution that follows, to be written."""

    layout: Layout
    inner: torch.Tensor
    """Its places, in that layout."""


class Pointwise(Protocol):
    """The steps between convolutions. All overwrite `y`, the result of a convolution, or leave it alone."""

    def activate(self, conv: Conv, x: Buffer, out: Buffer) -> bool:
        """Convolve `x` and write the rectified result to `out`; say whether its neighbours' places are filled, too."""
        ...

    def pool(self, y: torch.Tensor, skip: torch.Tensor, layout: Layout, out: torch.Tensor) -> None:
        """Rectify, add `skip` (a residual connection), and max-pool by four into `out`, `(length / 4, n, channels)`."""
        ...

    def begin_sum(
        self, y: torch.Tensor, skip: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward
    ) -> None:
        """Rectify into `total`, `(length, n, channels)`, and pass that with `skip` added onward."""
        ...

    def add(self, y: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward | None) -> None:
        """Rectify, add to `total`, and pass the sum onward."""
        ...


class InPlace:
    """One operation of the library after the other, in memory that is there; see `Pointwise`."""

    def activate(self, conv: Conv, x: Buffer, out: Buffer) -> bool:
        """Convolve and rectify."""
        conv(x, out=out.inner)
        out.inner.relu_()
        return False

    def pool(self, y: torch.Tensor, skip: torch.Tensor, layout: Layout, out: torch.Tensor) -> None:
        """Rectify, add, pool."""
        y.relu_().add_(skip)
        pooled = Layout(length=layout.length // 4, step=layout.step // 4)
        torch.amax(y.view(-1, 4, *y.shape[1:]), 1, out=pooled.split(out))

    def begin_sum(
        self, y: torch.Tensor, skip: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward
    ) -> None:
        """Rectify, copy, add, pass on."""
        layout.split(total).copy_(y.relu_())
        onward.layout.write(layout.read(y.add_(skip)), onward.inner)

    def add(self, y: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward | None) -> None:
        """Rectify, add, pass on."""
        layout.add_to(total, y.relu_())
        if onward is not None:
            onward.layout.write(total, onward.inner)
