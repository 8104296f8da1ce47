"""The Sei network arranged for speed: the same function of the same parameters.

Belongs here: weights prepared for one device and precision, the order of work, what is folded and what is tiled.
Does not: the published layers (`builders.extractors.sei.network`), batches (`builders.extractors.sei.batches`).

Needs numpy and torch only.
"""

import threading
from collections.abc import Iterator

import torch
from torch import nn

from builders.extractors.sei.fold import FoldedPair, fold_pair
from builders.extractors.sei.head import Head, linear
from builders.extractors.sei.network import INPUT_LENGTH, SeiNetwork, check_length, encode, reverse_complement
from builders.extractors.sei.pointwise import InPlace, Onward, Pointwise
from builders.extractors.sei.precision import arithmetic, checked_precision
from builders.extractors.sei.tiled_conv import Buffer, Conv, DirectConv, Layout, Scratch, TiledConv

KERNELS = ("tiled", "direct")

_LENGTHS = (INPUT_LENGTH, INPUT_LENGTH // 4, INPUT_LENGTH // 16)
_DILATIONS = (2, 4, 8, 16, 25)
# Chosen by measurement on two Zen 4 cores; steps of 16 to 64 are within a tenth of each other.
_STEP = 32
"""Positions that a tile writes."""
_DILATED_STEPS = {2: 16, 4: 16, 8: 32, 16: 16, 25: 11}
"""The same in rows of `dilation` positions; from 8 on a tile is the whole sequence."""
_CHUNKS = {4096: 4, 1024: 8, 256: 16}
"""Sequences at a time on a CPU: enough rows for the products, few enough for the cache and 6 GB in all."""
_STEM_WIDTH = 72
"""17 taps x 4 bases, a one for the bias, and zeros: matrix units want rows of whole 16 bytes."""


class FastSei:
    """Run a Sei network for inference.

    Not a module: what is prepared here is in no state dict, and nothing of the network is needed afterwards. The pairs
    of the `lconv` blocks are folded. With `tiled` kernels the convolutions take a fifth of their multiplications
    (`TiledConv`); with `direct` ones each runs as the library's own, channels-last.

    Parameters
    ----------
    network
        Parameters, in float32, on any device. Those of the classifier are shared where device and type agree.
    precision
        `fp32`; `tf32`, which only GPUs of NVIDIA have, and a CPU emulates: as exact, no faster; `bf16`, fast on a CPU
        with AVX512-BF16 or AMX.
    device
        Where to run.
    kernel
        `tiled` or `direct`.
    fused
        Whether activation, sums and pooling between tiled convolutions are one Triton kernel each, for GPUs: the same
        values, and less than half of that traffic to memory.
    release
        Whether to free each part of the network once it is prepared. The network is of no use then, and both need
        never fit into memory at once.

    Raises
    ------
    ValueError
        If precision or kernel is not among these, or direct kernels are to be fused.
    ModuleNotFoundError
        If `fused` finds no Triton.
    """

    def __init__(
        self,
        network: SeiNetwork,
        *,
        precision: str = "fp32",
        device: str | torch.device = "cpu",
        kernel: str = "tiled",
        fused: bool = False,
        release: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.precision = checked_precision(precision)
        if kernel not in KERNELS:
            raise ValueError(f"a kernel is {' or '.join(KERNELS)}, got {kernel!r}")
        if fused and kernel != "tiled":
            raise ValueError("only the steps between tiled convolutions can be fused; use kernel='tiled'")
        self.kernel = kernel
        self._steps: Pointwise = _fused_steps() if fused else InPlace()
        self.n_profiles = network.n_profiles
        self._scratch = Scratch(self.device, precision)
        self._lock = threading.Lock()
        with torch.inference_mode(), arithmetic("fp32"):
            self._prepare(network, release=release)

    def _prepare(self, network: SeiNetwork, *, release: bool) -> None:
        def freed(block: nn.Module) -> None:
            if release:
                block.to_empty(device="meta")

        place = self._scratch.place
        self._splines = network.splines.to(self.device)
        # First, since it is nine tenths of the memory.
        self._head = Head(network.classifier, self._scratch, release=release)
        stem = self._folded(network.lconv1)
        freed(network.lconv1)
        self._stem = place(_stem_matrix(stem))
        self._edges = [_EdgeCorrection(stem, self._scratch)]
        self._linear_convs: list[Conv] = []
        for pair, length in ((network.lconv2, _LENGTHS[1]), (network.lconv3, _LENGTHS[2])):
            folded = self._folded(pair)
            freed(pair)
            self._edges.append(_EdgeCorrection(folded, self._scratch))
            self._linear_convs.append(self._conv(folded.weight, folded.bias, Layout(length=length, step=_STEP)))
        self._nonlinear_convs: list[list[Conv]] = []
        for block, length in zip((network.conv1, network.conv2, network.conv3), _LENGTHS, strict=True):
            layout = Layout(length=length, step=_STEP)
            self._nonlinear_convs.append([self._conv(weight, bias, layout) for weight, bias in _convolutions(block)])
            freed(block)
        self._dilated: list[Conv] = []
        for number, dilation in enumerate(_DILATIONS, start=1):
            layout = Layout(length=_LENGTHS[2], step=_DILATED_STEPS[dilation], dilation=dilation)
            dilated = network.get_submodule(f"dconv{number}")
            self._dilated += [self._conv(weight, bias, layout) for weight, bias in _convolutions(dilated)]
            freed(dilated)

    @property
    def bytes_each(self) -> int:
        """Memory that one sequence takes while it is computed, weights aside (bytes, generous)."""
        # Of the longest level: input twice with its neighbours, spectra and products of 1.84, result, windows.
        return 10 * _LENGTHS[0] * 480 * self._scratch.dtype.itemsize

    def __call__(self, onehot: torch.Tensor) -> torch.Tensor:
        """Predict profiles of one strand, shape `(batch, n_profiles)`, as `SeiNetwork.forward` does."""
        return self.head(self.embed(onehot))

    @torch.inference_mode()
    def embed(self, onehot: torch.Tensor) -> torch.Tensor:
        """Run all but the two last layers.

        Parameters
        ----------
        onehot
            Encoded sequence, shape `(batch, 4, 4096)`, float32, on the device.

        Returns
        -------
        Shape `(batch, 960, 16)`, float32. One thread computes at a time.

        Raises
        ------
        ValueError
            If the sequences are not 4,096 long.
        """
        check_length(onehot)
        with self._lock, arithmetic("fp32"):
            n = len(onehot)
            wide = self._scratch.take("wide", _LENGTHS[1], n, 480)
            for some in self._chunks(n, _LENGTHS[0]):
                self._first_level(onehot[some], out=wide[:, some])
            narrow = self._scratch.take("narrow", _LENGTHS[2], n, 640)
            for some in self._chunks(n, _LENGTHS[1]):
                self._add_nonlinear(1, self._linear_block(1, wide[:, some]), out=narrow[:, some])
            return torch.cat([self._third_level(narrow[:, some]) for some in self._chunks(n, _LENGTHS[2])])

    @torch.inference_mode()
    def head(self, embedding: torch.Tensor) -> torch.Tensor:
        """Turn the output of `embed` into probabilities, shape `(batch, n_profiles)`, float32."""
        return self._head(embedding.flatten(1))

    def _first_level(self, onehot: torch.Tensor, *, out: torch.Tensor) -> None:
        conv = self._nonlinear_convs[0][0]
        skip = conv.input_buffer(len(onehot))
        bases = onehot.permute(2, 0, 1).to(self._scratch.dtype)  # (position, sequence, base)
        windows = self._scratch.take("windows", *skip.inner.shape[:-1], _STEM_WIDTH)
        conv.layout.write(_windows(bases), windows[..., :68])
        windows[..., 68:] = 0
        windows[..., 68] = 1
        if skip.inner.is_contiguous():
            torch.mm(windows.flatten(0, -2), self._stem, out=skip.inner.view(-1, self._stem.shape[1]))
        else:
            skip.inner.copy_(windows @ self._stem)
        self._edges[0].correct(skip.inner, conv.layout, bases)
        self._add_nonlinear(0, skip, out=out)

    def _third_level(self, x: torch.Tensor) -> torch.Tensor:
        skip = self._linear_block(2, x)
        y, layout = self._nonlinear_block(2, skip), self._nonlinear_convs[2][0].layout
        total = self._scratch.take("total", *x.shape[:2], y.shape[-1])
        # The skip connection enters the first dilated block, but not the sum over all of them.
        buffer = self._dilated[0].input_buffer(x.shape[1])
        self._steps.begin_sum(y, skip.inner, layout, total, Onward(self._dilated[0].layout, buffer.inner))
        for conv, following in zip(self._dilated, [*self._dilated[1:], None], strict=True):
            y, onward = conv(buffer), None
            if following is not None:
                buffer = following.input_buffer(x.shape[1])
                onward = Onward(following.layout, buffer.inner)
            self._steps.add(y, conv.layout, total, onward)
        return total.float().permute(1, 2, 0) @ self._splines

    def _linear_block(self, level: int, x: torch.Tensor) -> Buffer:
        conv, following = self._linear_convs[level - 1], self._nonlinear_convs[level][0]
        buffer = conv.input_buffer(x.shape[1])
        conv.layout.write(x, buffer.inner)
        skip = following.input_buffer(x.shape[1])
        conv(buffer, out=skip.inner)
        self._edges[level].correct(skip.inner, following.layout, x)
        return skip

    def _nonlinear_block(self, level: int, skip: Buffer) -> torch.Tensor:
        """Run two convolutions and the activation between them, not the one after."""
        first, second = self._nonlinear_convs[level]
        buffer = second.input_buffer(skip.inner.shape[3])
        return second(buffer, is_spread=self._steps.activate(first, skip, buffer))

    def _add_nonlinear(self, level: int, skip: Buffer, *, out: torch.Tensor) -> None:
        """Add the nonlinear block to its input (a residual connection), and max-pool by four."""
        y = self._nonlinear_block(level, skip)
        self._steps.pool(y, skip.inner, self._nonlinear_convs[level][0].layout, out)

    def _chunks(self, n: int, length: int) -> Iterator[slice]:
        step = _CHUNKS[length] if self.device.type == "cpu" else n
        return (slice(first, first + step) for first in range(0, n, step))

    def _folded(self, pair: nn.Module) -> FoldedPair:
        first, second = _convolutions(pair)
        return fold_pair(first, second, device=self.device)

    def _conv(self, weight: torch.Tensor, bias: torch.Tensor, layout: Layout) -> Conv:
        if self.kernel == "direct":
            return DirectConv(weight, bias, self._scratch, length=layout.length, dilation=layout.dilation)
        return TiledConv(weight, bias, layout, self._scratch)


@torch.inference_mode()
def features(
    network: FastSei, directions: torch.Tensor | None, bases: torch.Tensor, outputs: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """Compute feature sets of bins `(bins, 4096)`, ASCII, uint8, on the device; as `features_of_onehot`."""
    return features_of_onehot(network, directions, encode(bases), outputs)


def features_of_onehot(
    network: FastSei | SeiNetwork, directions: torch.Tensor | None, onehot: torch.Tensor, outputs: tuple[str, ...]
) -> dict[str, torch.Tensor]:
    """Compute feature sets of encoded bins, both strands in one batch; by a `SeiNetwork`, with gradients.

    Parameters
    ----------
    directions
        Projection from profiles to classes, shape `(61, n_profiles)`, rows of length 1; needed for `classes`.
    onehot
        Encoded sequence, shape `(bins, 4, 4096)`, float32, on the device.
    outputs
        Of `classes`, `profiles`, `embedding`.

    Returns
    -------
    For each set `(bins, channel)`, float32: the mean of both strands, profiles after the sigmoid, classes projected
    from the averaged profiles.
    """
    embedding = network.embed(torch.cat([onehot, reverse_complement(onehot)]))
    computed = {}
    if "embedding" in outputs:
        computed["embedding"] = _mean_of_strands(embedding).flatten(1)
    if "classes" in outputs or "profiles" in outputs:
        computed["profiles"] = _mean_of_strands(network.head(embedding))
    if "classes" in outputs:
        assert directions is not None  # classes are a projection
        with arithmetic("fp32"):
            computed["classes"] = computed["profiles"] @ directions.T
    return {output: computed[output] for output in outputs}


def _mean_of_strands(both: torch.Tensor) -> torch.Tensor:
    forward, reverse = both.chunk(2)
    return (forward + reverse) / 2


def _fused_steps() -> Pointwise:
    """Import Triton only where it is asked for: torch for CPUs comes without it."""
    try:
        from builders.extractors.sei.fused import Fused
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "fused steps are Triton kernels, and there is no Triton; it comes with torch for CUDA, or use fused=False"
        ) from error
    return Fused()


class _EdgeCorrection:
    """Subtracts the excess of a folded pair at both ends of a sequence."""

    def __init__(self, folded: FoldedPair, scratch: Scratch) -> None:
        self._first, self._last = (
            (scratch.place(excess.weight), scratch.place(excess.bias)) for excess in (folded.first, folded.last)
        )

    def correct(self, y: torch.Tensor, layout: Layout, x: torch.Tensor) -> None:
        """Correct `y`, laid out as `layout` says, in place, given the input `(length, n, n_in)`."""
        n, n_in = x.shape[1:]
        reach = self._first[0].shape[1] // n_in
        places = slice(None, reach), slice(-reach, None)
        for place, tile, (weight, bias) in zip(places, (0, -1), (self._first, self._last), strict=True):
            rows = x[place].transpose(0, 1).reshape(n, reach * n_in)
            y[place, tile, 0] -= linear(rows, weight, bias).view(n, reach, -1).transpose(0, 1)


def _stem_matrix(stem: FoldedPair) -> torch.Tensor:
    """Lay out the 17 taps of the first block, shape `(72, 480)`, for `_windows`."""
    n_out = len(stem.bias)
    matrix = stem.weight.new_zeros(_STEM_WIDTH, n_out)
    matrix[:68] = stem.weight.permute(2, 1, 0).reshape(68, n_out)
    matrix[68] = stem.bias
    return matrix


def _windows(bases: torch.Tensor) -> torch.Tensor:
    """View the 17 bases around each position side by side, shape `(length, n, 68)`, of `(length, n, 4)`."""
    length, n, _ = bases.shape
    padded = bases.new_zeros(n, length + 16, 4)
    padded[:, 8:-8] = bases.transpose(0, 1)
    return padded.as_strided((length, n, 68), (4, padded.stride(0), 1))


def _convolutions(block: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Give weight and bias of each convolution of a block, in order."""
    layers = [layer for layer in block.modules() if isinstance(layer, nn.Conv1d)]
    return [(layer.weight, layer.bias) for layer in layers if layer.bias is not None]
