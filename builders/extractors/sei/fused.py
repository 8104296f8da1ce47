"""The steps between two convolutions in one pass over memory each, as Triton kernels for GPUs.

Belongs here: kernels and their launches. Does not: what the steps are (`builders.extractors.sei.pointwise`).

Between its products Sei moves activations, half a gigabyte to two a pass for 256 bins. Sums are taken in float32 and
rounded where the single operations round, so values are the same to the last bit. Needs Triton, which comes with torch
for CUDA.
"""

import torch
import triton
import triton.language as tl

from builders.extractors.sei.pointwise import Onward
from builders.extractors.sei.tiled_conv import Buffer, Conv, Layout

_BLOCK = 1024
"""Values of one position that a program takes."""


class Fused:
    """One kernel for each step; see `builders.extractors.sei.pointwise.Pointwise`."""

    def activate(self, conv: Conv, x: Buffer, out: Buffer) -> bool:
        """Convolve, then rectify into all places of the tiles, those of neighbours included."""
        y = conv(x)
        places, tiles, dilation = out.tile.shape[:3]
        if dilation > 1:
            raise ValueError("tiles of dilated convolutions have no neighbours within reach; rectify them by `add`")
        size = _row_size(y)
        step = len(out.inner)
        _spread_kernel[_grid(places * tiles, size)](y, out.tile, tiles, step, (places - step) // 2, size, block=_BLOCK)
        return True

    def pool(self, y: torch.Tensor, skip: torch.Tensor, layout: Layout, out: torch.Tensor) -> None:
        """Read both once, write a quarter."""
        size = _row_size(y)
        _pool_kernel[_grid(layout.length // 4, size)](
            y, skip, out, layout.tiles, layout.step // 4, size, out.stride(0), block=_BLOCK
        )

    def begin_sum(
        self, y: torch.Tensor, skip: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward
    ) -> None:
        """Read both once, write both once."""
        _sum(y, layout, total, onward, skip=skip)

    def add(self, y: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward | None) -> None:
        """Read both once, write both once."""
        _sum(y, layout, total, onward, skip=None)


def _sum(
    y: torch.Tensor, layout: Layout, total: torch.Tensor, onward: Onward | None, *, skip: torch.Tensor | None
) -> None:
    following = layout if onward is None else onward.layout
    n_positions = following.step * following.tiles * following.dilation
    size = _row_size(y)
    _sum_kernel[_grid(n_positions, size)](
        y,
        y if skip is None else skip,
        total,
        total if onward is None else onward.inner,
        layout.length,
        layout.step,
        layout.tiles,
        layout.dilation,
        following.step,
        following.tiles,
        following.dilation,
        size,
        begins=skip is not None,
        goes_on=onward is not None,
        block=_BLOCK,
    )


def _row_size(y: torch.Tensor) -> int:
    """Count the values of one position: all sequences and channels lie together."""
    return y.shape[3] * y.shape[4]


def _grid(n_rows: int, size: int) -> tuple[int, int]:
    return n_rows, -(-size // _BLOCK)


@triton.jit
def _rectified(pointer, offsets, mask):  # type: ignore[no-untyped-def]  # Triton infers types at the launch
    values = tl.load(pointer + offsets, mask=mask, other=0.0).to(tl.float32)
    return tl.maximum(values, 0.0, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _spread_kernel(y, out, tiles, step, reach, size, block: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0) // tiles - reach
    tile = tl.program_id(0) % tiles
    # A place before or after the tile is one of the neighbour's; past the ends of the sequence it is zero.
    source_tile = tile - (place < 0).to(tl.int32) + (place >= step).to(tl.int32)
    source_place = (place + step) % step
    is_inside = (source_tile >= 0) & (source_tile < tiles)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    mask = columns < size
    source = (source_place * tiles + source_tile).to(tl.int64) * size + columns
    values = _rectified(y, source, columns < tl.where(is_inside, size, 0))
    target = tl.program_id(0).to(tl.int64) * size + columns
    tl.store(out + target, values.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _pool_kernel(y, skip, out, tiles, quarter, size, stride, block: tl.constexpr):  # type: ignore[no-untyped-def]
    position = tl.program_id(0)
    tile = position // quarter
    first_place = position % quarter * 4
    columns = tl.program_id(1) * block + tl.arange(0, block)
    mask = columns < size
    largest = tl.full((block,), float("-inf"), tl.float32)
    for place in tl.static_range(4):
        source = ((first_place + place) * tiles + tile).to(tl.int64) * size + columns
        values = _rectified(y, source, mask) + tl.load(skip + source, mask=mask, other=0.0).to(tl.float32)
        largest = tl.maximum(largest, values, propagate_nan=tl.PropagateNan.ALL)
    target = position.to(tl.int64) * stride + columns
    tl.store(out + target, largest.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _sum_kernel(  # type: ignore[no-untyped-def]
    y,
    skip,
    total,
    onward,
    length,
    step,
    tiles,
    dilation,
    next_step,
    next_tiles,
    next_dilation,
    size,
    begins: tl.constexpr,
    goes_on: tl.constexpr,
    block: tl.constexpr,
):
    position = tl.program_id(0)
    columns = tl.program_id(1) * block + tl.arange(0, block)
    mask = columns < tl.where(position < length, size, 0)
    row = position // dilation
    lies_at = ((row % step) * tiles + row // step) * dilation + position % dilation
    source = lies_at.to(tl.int64) * size + columns
    in_order = position.to(tl.int64) * size + columns
    values = _rectified(y, source, mask)
    if not begins:
        values += tl.load(total + in_order, mask=mask, other=0.0).to(tl.float32)
    values = values.to(total.dtype.element_ty)
    tl.store(total + in_order, values, mask=mask)
    if begins:
        added = values.to(tl.float32) + tl.load(skip + source, mask=mask, other=0.0).to(tl.float32)
        values = added.to(total.dtype.element_ty)
    if goes_on:
        next_row = position // next_dilation
        goes_to = ((next_row % next_step) * next_tiles + next_row // next_step) * next_dilation
        target = (goes_to + position % next_dilation).to(tl.int64) * size + columns
        # Positions past the sequence, which a single tile may have, are zero.
        tl.store(onward + target, tl.where(mask, values, 0.0).to(onward.dtype.element_ty), mask=columns < size)
