"""Which channels of a feature set a model sees.

Belongs here: choosing channels by name, group or signal, and projecting them. Does not: what a channel is
(`catalog.feature_set`), reading (`featurestore`).
"""

import difflib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from catalog import FeatureSet
from catalog.runtime.tables import listed
from catalog.value_type import Values
from loaders.projection import Projection
from loaders.settings import TensorType

SIGNAL = "signal"
"""Stands for every channel that its set does not mark as low-signal."""
ALL = "all"
"""Stands for every channel."""


class ChannelView:
    """What a dataset shows of a set's channels.

    Parameters
    ----------
    channels
        Names, groups (`E` for the enhancer classes of Sei), `"signal"` or `"all"`; a name goes before a group
        of the same name. Channels come in the order named, those of a group in the set's order, each once. None for
        all.
    projection
        Applied to the channels that are left.

    Raises
    ------
    ValueError
        If there is no such channel or group, none is left, or the projection has another number of rows.
    """

    def __init__(self, feature_set: FeatureSet, channels: Sequence[str] | None, projection: Projection | None) -> None:
        self._columns = None if channels is None else _columns(feature_set, channels)
        names = feature_set.channel_names
        self.names: tuple[str, ...] = names if self._columns is None else tuple(names[c] for c in self._columns)
        """Names of the last axis."""
        self._matrix: Tensor | None = None
        self._stored = feature_set.dtype
        if projection is not None:
            matrix = torch.from_numpy(np.asarray(projection.matrix, dtype=np.float32))
            if len(matrix) != len(self.names):
                raise ValueError(
                    f"the projection has {len(matrix)} rows, but {len(self.names)} channels of {feature_set.name} are "
                    f"read ({listed(self.names)}); give one row a channel, in that order, or choose with channels=[...]"
                )
            self._matrix, self.names = matrix, tuple(projection.names)

    def tensor_dtype(self, requested: TensorType | None) -> torch.dtype:
        """Choose the type of the tensors: the requested one, else float32, or uint8 for a set of it.

        Raises
        ------
        ValueError
            If the requested type does not hold the values.
        """
        holds_uint8 = self._stored == "uint8" and self._matrix is None
        if requested == "uint8" and not holds_uint8:
            raise ValueError(
                f"tensors of uint8 show a set of uint8, without a projection; these values are of {self._stored}"
                f"{' and projected' if self._matrix is not None else ''}: leave out dtype, or take dtype='float32'"
            )
        found: torch.dtype = getattr(torch, requested or ("uint8" if holds_uint8 else "float32"))
        return found

    def tensor_of(self, values: Values, dtype: torch.dtype) -> Tensor:
        """Turn features, `(windows, bins, channels)`, into the tensor that is shown, `(windows, bins, len(names))`."""
        return self.shown(torch.from_numpy(values if self._columns is None else values[..., self._columns]), dtype)

    def shown(self, tensor: Tensor, dtype: torch.dtype) -> Tensor:
        """Do the same with features whose channels are chosen already, on any device."""
        if self._matrix is None:
            return tensor.to(dtype)
        matrix = self._matrix.to(tensor.device)
        # Window by window: a product over the whole batch is rounded in an order that its size decides.
        return torch.stack([window.float() @ matrix for window in tensor]).to(dtype)

    @property
    def columns(self) -> list[int] | None:
        """The set's channels that are read, by number, in order; None for all."""
        return self._columns

    @property
    def is_projected(self) -> bool:
        """Whether sums of channels are shown in their place."""
        return self._matrix is not None


def _columns(feature_set: FeatureSet, channels: Sequence[str]) -> list[int]:
    meant: dict[str, list[int]] = {}
    for column, channel in enumerate(feature_set.channels):
        if channel.group:
            meant.setdefault(channel.group, []).append(column)
    meant |= {name: [column] for column, name in enumerate(feature_set.channel_names)}
    meant.setdefault(ALL, list(range(len(feature_set.channels))))
    meant.setdefault(SIGNAL, [c for c, channel in enumerate(feature_set.channels) if not channel.low_signal])
    unknown = [name for name in channels if name not in meant]
    if unknown:
        groups = sorted({channel.group for channel in feature_set.channels} - {""})
        near = difflib.get_close_matches(unknown[0], meant, n=3)
        raise ValueError(
            f"{feature_set.name} has no channel {unknown[0]!r} ({len(unknown)} unknown); it has "
            f"{listed(feature_set.channel_names)}"
            + (f"; groups: {listed(groups)}" if groups else "")
            + (f"; did you mean {' or '.join(near)}?" if near else "")
        )
    columns = list(dict.fromkeys(column for name in channels for column in meant[name]))
    if not columns:
        raise ValueError(
            f"channels={list(channels)!r} leaves no channel of {feature_set.name}; name one at least, or None for all"
        )
    return columns
