"""Convolutions by fewer multiplications than taps: tiles of a sequence, transformed by small real matrices.

Belongs here: how positions are laid out, the matrices, and the same convolution by the library's own kernel for
comparison. Does not: which layer uses what (`builders.extractors.sei.inference`).

A tile of `n` positions yields `n - k + 1` outputs of a `k`-tap convolution (overlap-save). In the Fourier basis each
frequency is one matrix product over channels, and a complex product takes three real ones (Gauss), so a tile costs
about `3 n / 2` real products in place of `k (n - k + 1)`: with 9 taps and 40 positions 59 in place of 288. The basis is
orthogonal, so float32 stays as accurate as the direct sum to within a factor of two, which the short rational
transforms (Winograd, Toom-Cook) do not at this size.

**Layout.** Activations have the shape `(step, tiles, dilation, n, channels)`: position
`(tile * step + place) * dilation + residue` of sequence `i` lies at `[place, tile, residue, i]`. So a transform over
the places of a tile is one product of a small matrix with all the rest, whatever the tiles, dilation and batch, and a
dilated convolution is the plain one over rows of `dilation` positions.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from builders.extractors.sei.precision import arithmetic, round_to_tf32_

Array = NDArray[np.float64]

_ROW_MULTIPLE = 8
"""Elements that rows of weights are padded to: matrix units of GPUs want rows that begin at whole 16 bytes, and without
it cuBLAS takes kernels of two generations ago, 2 to 7 times slower (15 % of a batch on an H100)."""


class Scratch:
    """Memory that layers use one after the other, and where and in what arithmetic they compute.

    On a CPU it is kept between calls: fresh pages cost more than the arithmetic that fills them. A GPU has its own
    cache of blocks. One thread at a time.
    """

    def __init__(self, device: torch.device, precision: str) -> None:
        self.device = device
        self.precision = precision
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._kept: dict[str, torch.Tensor] = {}
        self._turn = 0

    def take(self, use: str, *shape: int) -> torch.Tensor:
        """Give uninitialised memory; what was taken before for the same use is overwritten."""
        if self.device.type != "cpu":
            return torch.empty(shape, dtype=self.dtype, device=self.device)
        size = math.prod(shape)
        if use not in self._kept or self._kept[use].numel() < size:
            self._kept.pop(use, None)  # first, so that both never exist at once
            self._kept[use] = torch.empty(size, dtype=self.dtype)
        return self._kept[use][:size].view(shape)

    def take_in_turn(self, *shape: int) -> torch.Tensor:
        """Give memory that the next two calls leave alone, and the one after them overwrites."""
        self._turn = (self._turn + 1) % 3
        return self.take(f"turn {self._turn}", *shape)

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring to the device and type; a copy only if that changes anything."""
        return tensor.detach().to(device=self.device, dtype=self.dtype).contiguous()

    def place_factor(self, tensor: torch.Tensor) -> torch.Tensor:
        """Bring to the device, as a factor of the large products."""
        placed = self.place(tensor)
        return round_to_tf32_(placed.clone()) if self.precision == "tf32" else placed

    def place_padded(self, tensor: torch.Tensor, *shape: int) -> torch.Tensor:
        """Bring to the device, as a factor, with zeros after it up to `shape`: exact, if results are cut off again."""
        placed = torch.zeros(shape, dtype=self.dtype, device=self.device)
        placed[tuple(slice(size) for size in tensor.shape)] = tensor
        return round_to_tf32_(placed) if self.precision == "tf32" else placed

    def place_transposed(self, matrix: Array) -> torch.Tensor:
        """Bring a small matrix to the device by columns, each beginning at whole 16 bytes; the values are the same."""
        n_rows, n_columns = matrix.shape
        columns = np.zeros((n_columns, padded_width(n_rows)))
        columns[:, :n_rows] = matrix.T
        return self.place(torch.from_numpy(columns))[:, :n_rows].T


def padded_width(n: int) -> int:
    """Round up to rows of whole 16 bytes."""
    return -(-n // _ROW_MULTIPLE) * _ROW_MULTIPLE


class Buffer(NamedTuple):
    """Memory for the input of a convolution."""

    tile: torch.Tensor
    """With places for what the neighbouring tiles hold: `(step + 2 * reach, tiles, dilation, n, channels)`."""
    inner: torch.Tensor
    """Its own places, a view in the `Layout` of the convolution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where positions of a sequence lie in `(step, tiles, dilation, n, channels)`."""

    length: int
    step: int
    dilation: int = 1

    def __post_init__(self) -> None:
        if self.tiles > 1 and not self.is_filled:
            raise ValueError(
                f"tiles of {self.step} x {self.dilation} positions do not divide {self.length}; take a step that does, "
                "or one tile for all"
            )

    @property
    def tiles(self) -> int:
        """Tiles of one sequence. If there is one, its last positions may lie past the sequence, and are zero."""
        return -(-self.length // (self.step * self.dilation))

    def write(self, x: torch.Tensor, out: torch.Tensor) -> None:
        """Copy `x`, shape `(length, n, channels)`, into this layout."""
        if self.is_filled:
            out.copy_(self.split(x))
        else:
            positions = out[:, 0].flatten(0, 1)
            positions[: self.length] = x
            positions[self.length :] = 0

    def read(self, y: torch.Tensor) -> torch.Tensor:
        """Give `(length, n, channels)`, in order of position: a copy if there are several tiles, else a view."""
        return y.transpose(0, 1).flatten(0, 2)[: self.length]

    def add_to(self, total: torch.Tensor, y: torch.Tensor) -> None:
        """Add `y`, in this layout, to `total`, shape `(length, n, channels)`, in place."""
        if self.is_filled:
            self.split(total).add_(y)
        else:
            total += self.read(y)

    @property
    def is_filled(self) -> bool:
        """Whether each place holds a position of the sequence."""
        return self.length == self.step * self.tiles * self.dilation

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """View `x`, shape `(length, n, channels)`, in this layout, which must be filled."""
        return x.view(self.tiles, self.step, self.dilation, *x.shape[1:]).transpose(0, 1)


class Conv(Protocol):
    """A "same" convolution of sequences of one length."""

    layout: Layout

    def input_buffer(self, n: int) -> Buffer:
        """Give uninitialised memory for an input of `n` sequences.

        It is valid until the third next call of `input_buffer` on any convolution with the same `Scratch`.
        """
        ...

    def __call__(self, x: Buffer, *, out: torch.Tensor | None = None, is_spread: bool = False) -> torch.Tensor:
        """Convolve an `input_buffer`, in the `Layout` of input and output.

        Parameters
        ----------
        out
            Where to write, contiguous. Without it the result is valid until the next call on any with the same
            `Scratch`.
        is_spread
            Whether the places for the neighbouring tiles are filled already.
        """
        ...


@dataclass(frozen=True, slots=True)
class TileMatrices:
    """A short convolution as `outputs @ ((taps @ weight) * (inputs @ tile))`, all real."""

    inputs: Array
    """Shape `(products, places read)`."""
    taps: Array
    """Shape `(products, n_taps)`."""
    outputs: Array
    """Shape `(places written, products)`. Its first column, for the frequency 0, is constant."""


def tile_matrices(n_taps: int, step: int, *, is_whole: bool = False) -> TileMatrices:
    """Derive the matrices that give `step` outputs of a convolution.

    Parameters
    ----------
    n_taps
        Taps, odd.
    step
        Places written.
    is_whole
        Whether the tile is a whole sequence, with nothing but zeros around. It then reads no more places than it
        writes: what a transform of `step + n_taps // 2` places wraps around falls on zeros. Otherwise it reads
        `step + n_taps - 1`, and output 0 is centred on input `n_taps // 2`.

    Returns
    -------
    Matrices in float64; a product for each real frequency and three for each complex one.
    """
    reach = n_taps // 2
    size = step + reach if is_whole else step + 2 * reach
    place: Array = np.arange(step if is_whole else size, dtype=np.float64)
    centre: Array = np.arange(step, dtype=np.float64) + (0 if is_whole else reach)
    # A correlation, as everywhere in deep learning: tap j reads `j - reach` places on, so its phase runs backwards.
    tap: Array = reach - np.arange(n_taps, dtype=np.float64)
    # Outputs of real frequencies are scaled by a power of two, exact in any type, and weights make up for it: 1 / size
    # in bfloat16 would be off by up to 0.4 %, and the mean of all activations with it.
    scale = 2.0 ** -round(math.log2(size))
    inputs: list[Array] = [np.ones(len(place))]
    taps: list[Array] = [np.full(n_taps, 1 / (size * scale))]
    outputs: list[Array] = [np.full(step, scale)]
    for frequency in range(1, (size - 1) // 2 + 1):
        turn = 2 * np.pi * frequency / size
        for rows, at in ((inputs, place), (taps, tap)):
            real, imaginary = np.cos(turn * at), -np.sin(turn * at)
            rows += [real, imaginary, real + imaginary]
        # (a + ib)(c + id) = (p - q) + i (r - p - q) with p = ac, q = bd, r = (a + b)(c + d)
        cosine, sine = np.cos(turn * centre) * 2 / size, np.sin(turn * centre) * 2 / size
        outputs += [cosine + sine, sine - cosine, -sine]
    if size % 2 == 0:
        inputs.append(1.0 - 2.0 * (place % 2))
        taps.append((1.0 - 2.0 * (tap % 2)) / (size * scale))
        outputs.append((1.0 - 2.0 * (centre % 2)) * scale)
    return TileMatrices(np.array(inputs), np.array(taps), np.array(outputs).T)


class TiledConv:
    """A convolution with "same" zero padding in three products: into the Fourier basis, over channels, and back.

    In `tf32` only the second, which is nearly all of the work, is computed so.

    Parameters
    ----------
    weight
        Shape `(n_out, n_in, n_taps)`; `n_taps` odd.
    bias
        Shape `(n_out,)`.
    layout
        Of input and output. A tile of several must be at least as long as the taps reach, `n_taps // 2`.
    scratch
        Memory, device and type to compute in.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, layout: Layout, scratch: Scratch) -> None:
        self.layout = layout
        self._n_out, self._n_in, n_taps = weight.shape
        is_whole = layout.tiles == 1
        self._reach = 0 if is_whole else n_taps // 2
        if layout.step < self._reach:
            raise ValueError(f"{n_taps} taps reach past tiles of {layout.step} places; take a step >= {self._reach}")
        matrices = tile_matrices(n_taps, layout.step, is_whole=is_whole)
        self._scratch = scratch
        self._inputs = scratch.place_transposed(matrices.inputs)
        self._outputs = scratch.place_transposed(matrices.outputs)
        self._weights = _transformed(weight, matrices.taps, scratch)
        # A constant over a tile has only the frequency 0, whose column of `outputs` is constant.
        self._bias = scratch.place(bias.double() / matrices.outputs[0, 0])

    def input_buffer(self, n: int) -> Buffer:
        """Give memory for an input of `n` sequences; see `Conv`."""
        layout, reach = self.layout, self._reach
        tile = self._scratch.take_in_turn(layout.step + 2 * reach, layout.tiles, layout.dilation, n, self._n_in)
        return Buffer(tile, tile[reach : reach + layout.step])

    def __call__(self, x: Buffer, *, out: torch.Tensor | None = None, is_spread: bool = False) -> torch.Tensor:
        """Convolve what an `input_buffer` holds; see `Conv`."""
        step, tiles, dilation, n, _ = x.inner.shape
        if not is_spread:
            self._spread(x)
        spectra = self._scratch.take("spectra", len(self._inputs), tiles * dilation * n, self._n_in)
        torch.mm(self._inputs, x.tile.flatten(1), out=spectra.flatten(1))
        products = self._scratch.take("products", len(self._inputs), tiles * dilation * n, self._n_out)
        if self._scratch.precision == "tf32":
            round_to_tf32_(spectra)
        with arithmetic(self._scratch.precision):
            torch.bmm(spectra, self._weights, out=products)
        products[0] += self._bias
        y = self._scratch.take("result", step, tiles, dilation, n, self._n_out) if out is None else out
        torch.mm(self._outputs, products.flatten(1), out=y.view(step, -1))
        return y

    def _spread(self, x: Buffer) -> None:
        """Fill the places around those of `inner` from the tiles before and after."""
        tile, reach, step = x.tile, self._reach, len(x.inner)
        if reach == 0:
            return
        tile[:reach, 0] = 0
        tile[:reach, 1:] = x.inner[step - reach :, :-1]
        tile[reach + step :, -1] = 0
        tile[reach + step :, :-1] = x.inner[:reach, 1:]


class DirectConv:
    """The same by the library's kernel for images one pixel high, channels-last.

    Parameters
    ----------
    weight, bias, scratch
        As of `TiledConv`.
    length
        Positions of a sequence; one tile, but with the sequences behind each other in memory.
    dilation
        Positions between taps.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, scratch: Scratch, *, length: int, dilation: int = 1
    ) -> None:
        self.layout = Layout(length=length, step=length)
        self._dilation = dilation
        self._padding = weight.shape[2] // 2 * dilation
        self._weight = scratch.place_factor(weight)[:, :, None].contiguous(memory_format=torch.channels_last)
        self._bias = scratch.place(bias)
        self._scratch = scratch

    def input_buffer(self, n: int) -> Buffer:
        """Give memory for an input of `n` sequences; see `Conv`."""
        sequences = self._scratch.take_in_turn(n, self.layout.length, self._weight.shape[1])
        inner = sequences.transpose(0, 1)[:, None, None]
        return Buffer(inner, inner)

    def __call__(self, x: Buffer, *, out: torch.Tensor | None = None, is_spread: bool = False) -> torch.Tensor:
        """Convolve what an `input_buffer` holds; see `Conv`."""
        image = x.inner[:, 0, 0].permute(1, 2, 0)[:, :, None]
        if self._scratch.precision == "tf32":
            image = round_to_tf32_(image.clone())  # a copy: what runs past the convolution stays whole
        with arithmetic(self._scratch.precision):
            y = F.conv2d(image, self._weight, self._bias, padding=(0, self._padding), dilation=(1, self._dilation))
        y = y[:, :, 0].permute(2, 0, 1)[:, None, None]
        return y if out is None else out.copy_(y)


def _transformed(weight: torch.Tensor, taps: Array, scratch: Scratch) -> torch.Tensor:
    """Give the weights of each product, shape `(products, n_in, n_out)`."""
    n_out, n_in, n_taps = weight.shape
    flat = weight.detach().to(scratch.device, torch.float32).permute(2, 1, 0).reshape(n_taps, n_in * n_out)
    rows = torch.from_numpy(taps).to(scratch.device, torch.float32)
    placed = torch.empty(len(taps), n_in, n_out, dtype=scratch.dtype, device=scratch.device)
    if placed.dtype == torch.float32:
        torch.mm(rows, flat, out=placed.view(len(taps), -1))
    else:
        one = torch.empty(n_in * n_out, device=scratch.device)  # no second copy of all of them in float32
        for row, product in zip(rows, placed, strict=True):
            product.copy_(torch.mv(flat.T, row, out=one).view(n_in, n_out))
    return round_to_tf32_(placed) if scratch.precision == "tf32" else placed
