"""One-hot encoding of sequence.

Needs torch alone.
"""

from torch import Tensor, arange, stack


def encode(sequences: Tensor, *, unknown: float = 0.0) -> Tensor:
    """Encode bases one-hot in the order A, C, G, T.

    Parameters
    ----------
    sequences
        ASCII bases in either case, shape `(batch, length)`, uint8, on any device.
    unknown
        What every other byte (N, IUPAC codes, U, gaps) is in all four channels: as the network was trained.

    Returns
    -------
    Shape `(batch, 4, length)`, float32, on the same device.
    """
    letters = sequences | 0x20  # lower case
    bases = stack([letters == code for code in b"acgt"], dim=1)
    return bases + unknown * ~bases.any(1, keepdim=True) if unknown else bases.float()


def slices(values: Tensor, begin: Tensor, width: int) -> Tensor:
    """Cut `(channels, length)` from each of some places on: shape `(slices, channels, width)`."""
    places = begin[:, None] + arange(width, device=values.device)
    return values[:, places].transpose(0, 1)
