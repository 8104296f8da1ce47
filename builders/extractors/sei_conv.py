"""Convolutions of sequences that lie channels-last, by fewer multiplications than taps.

Belongs here: cutting a sequence into overlapping tiles, the real Fourier transform of a tile as a matrix, and the same
convolution by the library's own kernel. Does not: which layer uses which (`builders.extractors.sei_fast`).

A tile of `n` positions yields `n - k + 1` outputs of a `k`-tap convolution (overlap-save). In the Fourier basis each
output frequency is one matrix product over channels, and a complex product takes three real ones (Gauss), so a tile
costs `3 n / 2` real products in place of `k (n - k + 1)`: a factor of 4.6 less for 9 taps and 32 positions. The basis
is orthogonal, so float32 stays as accurate as the direct sum to within a factor of two, which short rational
transforms (Winograd, Toom-Cook) of this size do not.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Conv(Protocol):
    """A "same" convolution of sequences of one length, shape `(n, length, channels)`."""

    def slot(self, n: int) -> torch.Tensor:
        """Give uninitialised memory for an input of `n` sequences, shape `(n, length, n_in)`.

        It is valid until the next but one call of `slot` on any convolution with the same `Scratch`.
        """
        ...

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve what a `slot` holds; the result is a view, valid until the next call of any."""
        ...


class Scratch:
    """Memory that layers use one after the other.

    On a CPU it is kept between calls: fresh pages cost more than the arithmetic that fills them. A GPU has its own
    cache of blocks. One thread at a time.
    """

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device = device
        self.dtype = dtype
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
        """Give memory that the next call leaves alone, and the one after it overwrites."""
        self._turn = 1 - self._turn
        return self.take(f"turn {self._turn}", *shape)


@dataclass(frozen=True, slots=True)
class TileMatrices:
    """A short convolution as `outputs @ ((taps @ weight) * (inputs @ tile))`, all real."""

    inputs: Array
    """Shape `(products, positions read)`."""
    taps: Array
    """Shape `(products, n_taps)`."""
    outputs: Array
    """Shape `(positions written, products)`. Its first column is constant: the product at frequency 0."""


def tile_matrices(n_taps: int, size: int, *, zeros_around: bool = False) -> TileMatrices:
    """Derive the matrices of a cyclic convolution of `size` positions.

    Parameters
    ----------
    n_taps
        Taps, odd.
    size
        Positions of the transform.
    zeros_around
        Whether the tile is a whole sequence with nothing but zeros around. It then reads as many positions as it
        writes, `size - n_taps // 2`: what wraps around falls on zeros. Otherwise it reads `size` and writes
        `size - n_taps + 1`, output 0 centred on input `n_taps // 2`.

    Returns
    -------
    Matrices in float64; `size` products for the real frequencies and three for each complex one.
    """
    reach = n_taps // 2
    read = size - reach if zeros_around else size
    written = size - reach if zeros_around else size - n_taps + 1
    if written < 1:
        raise ValueError(f"a tile of {size} positions is too short for {n_taps} taps; take at least {n_taps}")
    position = np.arange(read)
    # A correlation, as in every deep-learning library: tap j reads `j - reach` places on, so its phase runs backwards.
    tap = -(np.arange(n_taps) - reach)
    centre = np.arange(written) + (0 if zeros_around else reach)
    inputs, taps, outputs = [np.ones(read)], [np.ones(n_taps)], [np.full(written, 1 / size)]
    for frequency in range(1, (size - 1) // 2 + 1):
        turn = 2 * np.pi * frequency / size
        for rows, place in ((inputs, position), (taps, tap)):
            real, imaginary = np.cos(turn * place), -np.sin(turn * place)
            rows += [real, imaginary, real + imaginary]
        # (a + ib)(c + id) = (p - q) + i (r - p - q) with p = ac, q = bd, r = (a + b)(c + d)
        cosine, sine = np.cos(turn * centre) * 2 / size, np.sin(turn * centre) * 2 / size
        outputs += [cosine + sine, sine - cosine, -sine]
    if size % 2 == 0:
        inputs.append((-1.0) ** position)
        taps.append((-1.0) ** tap)
        outputs.append((-1.0) ** centre / size)
    return TileMatrices(np.array(inputs), np.array(taps), np.array(outputs).T)


class TiledConv:
    """A convolution with "same" zero padding, tile by tile in the Fourier basis.

    Sequences lie behind each other in one buffer, apart by at least the reach of the taps in zeros, a whole number of
    tiles each: then all tiles of all sequences are one strided batch. A dilated convolution is the plain one over rows
    of `dilation` positions. With at most one tile a sequence no zeros are stored at all.

    Parameters
    ----------
    weight
        Shape `(n_out, n_in, n_taps)`; `n_taps` odd.
    bias
        Shape `(n_out,)`.
    length
        Positions of a sequence.
    size
        Positions of a tile, in rows of `dilation`; None for the smallest tile that holds a whole sequence.
    scratch
        Memory and type to compute in.
    """

    def __init__(
        self,
        weight: torch.Tensor,
        bias: torch.Tensor,
        *,
        length: int,
        size: int | None,
        scratch: Scratch,
        dilation: int = 1,
    ) -> None:
        self.n_out, self.n_in, n_taps = weight.shape
        self.length = length
        self.dilation = dilation
        reach = n_taps // 2
        rows = -(-length // dilation)
        if size is None:
            matrices = tile_matrices(n_taps, rows + reach, zeros_around=True)
            self._lead, self._tiles = 0, 1
        else:
            matrices = tile_matrices(n_taps, size)
            self._lead, self._tiles = reach, -(-(rows + reach) // len(matrices.outputs))
        self._step, self._products = matrices.outputs.shape
        self._scratch = scratch
        self._inputs = _placed(matrices.inputs, scratch)
        self._outputs = _placed(matrices.outputs, scratch)
        self._weights = _transformed(weight, matrices.taps, scratch)
        # A constant over a tile has only the frequency 0, whose column of `outputs` is 1 / size.
        self._bias = (bias.double() / matrices.outputs[0, 0]).to(device=scratch.device, dtype=scratch.dtype)

    def slot(self, n: int) -> torch.Tensor:
        buffer = self._scratch.take_in_turn(self._n_rows(n), self.dilation * self.n_in)
        body = buffer[self._lead : self._lead + n * self._tiles * self._step]
        sequences = body.view(n, self._tiles * self._step * self.dilation, self.n_in)
        buffer[: self._lead] = 0
        buffer[self._lead + len(body) :] = 0
        sequences[:, self.length :] = 0
        return sequences[:, : self.length]

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        n = len(x)
        tiles, width = n * self._tiles, self.dilation * self.n_in
        read = self._inputs.shape[1]
        # From where the slot begins, `lead` rows before the first sequence.
        tiled = x.as_strided(
            (tiles, read, width), (self._step * width, width, 1), x.storage_offset() - self._lead * width
        )
        spectra = self._scratch.take("spectra", tiles, self._products, width)
        torch.bmm(self._inputs.expand(tiles, -1, -1), tiled, out=spectra)
        by_product = spectra.transpose(0, 1)
        if self.dilation > 1:  # then the rows of one product lie two levels deep, which no matrix product can read
            by_product = self._scratch.take("products", *by_product.shape).copy_(by_product)
            by_product = by_product.view(self._products, tiles * self.dilation, self.n_in)
        use = "products" if self.dilation == 1 else "spectra"
        products = self._scratch.take(use, self._products, tiles * self.dilation, self.n_out)
        torch.bmm(by_product, self._weights, out=products)
        products[0] += self._bias
        y = self._scratch.take("result", tiles, self._step, self.dilation * self.n_out)
        by_tile = products.view(self._products, tiles, -1).transpose(0, 1)
        torch.bmm(self._outputs.expand(tiles, -1, -1), by_tile, out=y)
        return y.view(n, self._tiles * self._step * self.dilation, self.n_out)[:, : self.length]

    def _n_rows(self, n: int) -> int:
        return 2 * self._lead + n * self._tiles * self._step


class DirectConv:
    """The same by the library's kernel for images one pixel high, channels-last. Parameters as in `TiledConv`."""

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, *, length: int, scratch: Scratch, dilation: int = 1
    ) -> None:
        self.length = length
        self._dilation = dilation
        self._padding = weight.shape[2] // 2 * dilation
        placed = weight[:, :, None].to(device=scratch.device, dtype=scratch.dtype)
        self._weight = placed.contiguous(memory_format=torch.channels_last)
        self._bias = bias.to(device=scratch.device, dtype=scratch.dtype)
        self._scratch = scratch

    def slot(self, n: int) -> torch.Tensor:
        return self._scratch.take_in_turn(n, self.length, self._weight.shape[1])

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        image = x.transpose(1, 2)[:, :, None]
        y = F.conv2d(image, self._weight, self._bias, padding=(0, self._padding), dilation=(1, self._dilation))
        return y[:, :, 0].transpose(1, 2)


def _placed(matrix: Array, scratch: Scratch) -> torch.Tensor:
    return torch.from_numpy(matrix).to(device=scratch.device, dtype=scratch.dtype).contiguous()


def _transformed(weight: torch.Tensor, taps: Array, scratch: Scratch) -> torch.Tensor:
    """Give the weights of each product, shape `(products, n_in, n_out)`, summed in float64."""
    n_out, n_in, n_taps = weight.shape
    flat = weight.to(scratch.device).permute(2, 1, 0).reshape(n_taps, n_in * n_out).double()
    rows = torch.from_numpy(taps).to(scratch.device)
    placed = torch.empty(len(taps), n_in, n_out, dtype=scratch.dtype, device=scratch.device)
    for first in _starts(len(taps), 8):  # a few at a time, so that no float64 copy of all of them exists
        some = rows[first : first + 8]
        placed[first : first + 8] = (some @ flat).view(len(some), n_in, n_out)
    return placed


def _starts(total: int, step: int) -> Iterator[int]:
    return iter(range(0, total, step))
