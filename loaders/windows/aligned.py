"""Several feature sets of the same windows.

Belongs here: `AlignedDataset`, each set in its own bins; what datasets that are combined must agree on. Does not:
reading (`loaders.windows.grid`), all channels in one tensor (`loaders.windows.stacked`), several stores one after the
other (`loaders.windows.joined`).
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from catalog import AssemblyMismatch, FeatureSet
from catalog.runtime.whole_numbers import whole_number
from catalog.value_type import Values
from featurestore import FingerprintMismatch, NotBuilt
from featurestore.display import Display, Displayed, heading
from featurestore.store import StorePlace
from loaders.settings import WindowSettings
from loaders.windows.grid import WindowDataset
from loaders.windows.indexing import checked_indices, window_numbers
from loaders.windows.row_table import Spans


class AlignedDataset(Displayed, Dataset[dict[str, Tensor]]):
    """Several feature sets of the same windows: every set covers the same bases, each in its own bins.

    Windows are placed by the set with the widest bins, to which `n_bins` refers; a set with bins a k-th as wide gives
    `k * n_bins` bins. So all share one residual (`residuals`).

    Parameters
    ----------
    parts
        A dataset of the same windows by name, from one store or from several; the names are the keys of the batches.

    Raises
    ------
    AssemblyMismatch, FingerprintMismatch
        If the parts are on different assemblies, or one set was made in two ways.
    ValueError
        If the parts differ in their windows, jitter or orientation, or their bins cannot cover the same bases.
    """

    def __init__(self, parts: Mapping[str, WindowDataset]) -> None:
        if not parts:
            raise ValueError("there are no feature sets to align; name one part at least")
        self.parts = dict(parts)
        refuse_disagreement(list(self.parts.values()))
        lead = _lead({name: part.reader.feature_set for name, part in self.parts.items()})
        self._lead = self.parts[lead]
        for name, part in self.parts.items():
            if not part.same_windows(self._lead):
                raise ValueError(
                    f"{name!r} and {lead!r} are to cover the same bases, but differ in contigs, centres, orientation, "
                    "jitter or seed; make both with the same (`loaders.aligned_dataset` does)"
                )
            if part is not self._lead:
                _refuse_short_contigs(name, part)
        self._spans: dict[str, tuple[Any, Spans]] = {}
        """By set of narrower bins: where its windows begin on the device, and when that was so."""

    @property
    def n_bins(self) -> int:
        """Bins a window, of the set with the widest bins; may be set at any time."""
        return self._lead.n_bins

    @n_bins.setter
    def n_bins(self, n_bins: int) -> None:
        self._lead.n_bins = n_bins

    @property
    def n_bins_of(self) -> dict[str, int]:
        """Bins a window by set."""
        widest = self._lead.reader.feature_set.bin_size
        return {name: self.n_bins * widest // part.reader.feature_set.bin_size for name, part in self.parts.items()}

    @property
    def channel_names(self) -> dict[str, tuple[str, ...]]:
        """Names of the last axis by set."""
        return {name: part.channel_names for name, part in self.parts.items()}

    @property
    def fingerprints(self) -> dict[str, str]:
        """What the features were made with, by set."""
        return {name: part.fingerprint for name, part in self.parts.items()}

    def _display(self) -> Display:
        sets = [
            (name, f"{self.n_bins_of[name]:,} bins x {len(part.channel_names):,} channels: {heading(part)}")
            for name, part in self.parts.items()
        ]
        return Display(f"AlignedDataset of {', '.join(self.parts)}", (("windows", f"{len(self):,}"), *sets))

    def set_epoch(self, epoch: int) -> None:
        """Jitter the windows as in this epoch."""
        self._lead.set_epoch(epoch)

    def blocks(self) -> NDArray[np.int64]:
        """Tell which shard of the set with the widest bins each window's centre lies in, by number, `(windows,)`."""
        return self._lead.blocks()

    def residuals(self, indices: Sequence[int]) -> NDArray[np.int64]:
        """Give the residual of some windows in this epoch (bp); equal for all sets."""
        return self._lead.placed(indices).residuals

    @property
    def lead(self) -> WindowDataset:
        """The part with the widest bins, which places the windows of all."""
        return self._lead

    def subset(self, indices: Sequence[int]) -> Self:
        """Give the dataset of some of the windows, in the order named; it shares what was read already."""
        places = window_numbers(indices).tolist()
        return self._changed(lambda part: part.subset(places))

    def with_n_bins(self, n_bins: int) -> Self:
        """Give the dataset of the same windows with so many of the widest bins each."""
        return self._changed(lambda part: part.with_n_bins(n_bins) if part is self._lead else part)

    def unjittered(self) -> Self:
        """Give the dataset of the same windows without jitter, for evaluation."""
        return self._changed(lambda part: part.unjittered())

    def elsewhere(self, contigs: Sequence[str], centres: ArrayLike) -> Self:
        """Give the dataset of windows around other positions, forward and without jitter; it shares what was read."""
        return self._changed(lambda part: part.elsewhere(contigs, centres))

    def __len__(self) -> int:
        return len(self._lead)

    def __getitem__(self, index: int | Sequence[int]) -> dict[str, Tensor]:
        """Read one window, `(n_bins_of[set], channels)` a set, or for a list of indices a batch of them."""
        if isinstance(index, Sequence):
            return self._batch(checked_indices(index, len(self)))
        one = checked_indices([whole_number(index, name="index")], len(self))
        return {name: tensor[0] for name, tensor in self._batch(one).items()}

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Tensor]]:
        """Read many windows in one request a set; DataLoader calls this when it makes batches itself."""
        batch = self._batch(checked_indices(indices, len(self)))
        return [{name: tensor[window] for name, tensor in batch.items()} for window in range(len(indices))]

    def _batch(self, indices: list[int]) -> dict[str, Tensor]:
        starts = self._lead.placed(indices).starts
        found: dict[str, Tensor] = {}
        for name, part in self.parts.items():
            if part is self._lead:
                found[name] = part[indices]
            else:
                found[name] = self._narrower(name, part, indices, starts)
        return found

    def _narrower(self, name: str, part: WindowDataset, indices: list[int], starts: NDArray[np.int64]) -> Tensor:
        if part.is_on_device:
            with suppress(NotBuilt):  # as there
                return self._gathered(name, part, torch.tensor(indices))
        return part.tensor_of(_from_starts(part, indices, starts, self.n_bins_of[name]), indices)

    def gathered(self, numbers: Tensor) -> dict[str, Tensor]:
        """Gather some windows by number, int64, where all sets are on the device."""
        return {
            name: part.gathered(numbers) if part is self._lead else self._gathered(name, part, numbers)
            for name, part in self.parts.items()
        }

    def _gathered(self, name: str, part: WindowDataset, numbers: Tensor) -> Tensor:
        """Gather windows of narrower bins, which begin where those of the widest ones do."""
        lead = self._lead
        state = (lead.epoch, lead.n_bins, lead.settings)
        if name not in self._spans or self._spans[name][0] != state:
            starts = lead.placed(range(len(self))).starts
            plan = part.reader.plan_from(part.contigs, starts, self.n_bins_of[name])
            self._spans[name] = state, part.spans_of(*part.plan_of(plan))
        return part.gathered_from(self._spans[name][1], numbers, self.n_bins_of[name])

    def _changed(self, change: Callable[[WindowDataset], WindowDataset]) -> Self:
        """Give a copy with every part changed alike, so that they agree as before."""
        changed = copy.copy(self)
        changed.parts = {name: change(part) for name, part in self.parts.items()}
        changed._spans = {}
        changed._lead = next(changed.parts[name] for name, part in self.parts.items() if part is self._lead)
        return changed


def aligned_dataset(
    url: StorePlace,
    feature_sets: Mapping[str, Mapping[str, Any]] | Sequence[str],
    *,
    contigs: Sequence[str] | str,
    centres: ArrayLike,
    strands: Sequence[str] | None = None,
    settings: WindowSettings | None = None,
    **changes: Any,
) -> AlignedDataset:
    """Align several feature sets of one store.

    Parameters
    ----------
    feature_sets
        Names of the sets; or by name the fields of `WindowSettings` that are its own, as
        `{"classes": {"channels": "E"}, "tracks": {}}`.
    settings
        What all share; its `n_bins` are of the widest bins. None for the defaults.
    changes
        Fields of `WindowSettings` in place of those of `settings`: `n_bins`, `orient`, `jitter_bp`, ...
    """
    shared = replace(settings or WindowSettings(), **changes)
    own = feature_sets if isinstance(feature_sets, Mapping) else {name: {} for name in feature_sets}
    return AlignedDataset(
        {
            name: WindowDataset.of(
                url, name, contigs=contigs, centres=centres, strands=strands, settings=replace(shared, **chosen)
            )
            for name, chosen in own.items()
        }
    )


def refuse_disagreement(parts: Sequence[WindowDataset]) -> None:
    """Refuse datasets of different assemblies, and of one set that was made in two ways."""
    first = parts[0].reader
    made: dict[str, WindowDataset] = {}
    for part in parts:
        reader = part.reader
        if reader.assembly.digest != first.assembly.digest:
            raise AssemblyMismatch(
                f"{first.url} is on {first.assembly.name} ({first.assembly.digest}), but {reader.url} on "
                f"{reader.assembly.name} ({reader.assembly.digest}): one position means two places; open stores of one "
                "assembly, or train on them one after the other"
            )
        before = made.setdefault(reader.name, part).reader
        identities = (one.feature_set.identity(one.assembly.digest) for one in (reader, before))
        difference = next(identities).first_difference(next(identities))
        if difference is not None:
            raise FingerprintMismatch(
                f"{reader.name} of {reader.url} was made with {difference} as that of {before.url}: equal columns "
                "mean different things; build both with the same extractor and options (`featurestore diff` shows what "
                "differs)"
            )


def _lead(sets: Mapping[str, FeatureSet]) -> str:
    """Give the set with the widest bins, at whose edges all others have edges too."""
    by_width = sorted(sets, key=lambda name: (-sets[name].bin_size, len(sets[name].offsets)))
    lead = sets[by_width[0]]
    for name in by_width[1:]:
        part = sets[name]
        if lead.bin_size % part.bin_size:
            raise ValueError(
                f"{name!r} has bins of {part.bin_size} bp, which do not divide the {lead.bin_size} bp of "
                f"{by_width[0]!r}, so no windows of both cover the same bases; build it with bins that divide"
            )
        edges = {offset % part.bin_size for offset in part.offsets}
        lacking = sorted({offset % part.bin_size for offset in lead.offsets} - edges)
        if lacking:
            raise ValueError(
                f"{by_width[0]!r} has bins that start where {name!r} has no edge, so windows of both do not cover the "
                f"same bases; build {name!r} at the offsets {','.join(map(str, lacking))} too"
            )
    return by_width[0]


def _refuse_short_contigs(name: str, part: WindowDataset) -> None:
    reader = part.reader
    lengths, bin_size = reader.assembly.lengths, reader.feature_set.bin_size
    short = sorted({contig for contig in part.contigs if lengths[contig] < bin_size})
    if short:
        raise ValueError(
            f"{short[0]} has {lengths[short[0]]} bp, less than one bin of {name!r} ({bin_size} bp); leave out the "
            f"windows on contigs that short ({len(short)} of them)"
        )


def _from_starts(part: WindowDataset, indices: Sequence[int], starts: NDArray[np.int64], n_bins: int) -> Values:
    """Read windows whose first bins begin at exactly these bases, shape `(windows, n_bins, channels)`."""
    reader = part.reader
    bin_size = reader.feature_set.bin_size
    contigs = [part.contigs[index] for index in indices]
    centres = starts + n_bins // 2 * bin_size + (bin_size // 2 if n_bins % 2 else 0)
    last = np.asarray([reader.assembly.lengths[contig] - 1 for contig in contigs], dtype=np.int64)
    # A window is read around a centre inside its contig. One whose own centre lies outside, by half of the widest bin
    # at most, is cut out of a wider window that lies whole bins further in.
    shifts = np.where(centres < 0, -(centres // bin_size), np.minimum((last - centres) // bin_size, 0))
    margin = int(np.abs(shifts).max())
    values = reader.windows(contigs, centres + shifts * bin_size, n_bins + 2 * margin).values
    if margin == 0:
        return values
    kept = (margin - shifts)[:, None] + np.arange(n_bins)
    return np.take_along_axis(values, kept[:, :, None], axis=1)
