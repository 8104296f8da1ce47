"""Simulated signals beside a simulated genome: one that marks active elements, and a confounder.

    from catalog.simulation.signals import simulate_signals
    signals = simulate_signals(Path("demo-genome"))        # where `simulate` has written

Belongs here: signals along the genome, written as bigWig. Does not: the genome and the expression of its genes
(`catalog.simulation.genome`), reading bigWig (`builders.tracks`).

Needs pybigtools, which the extra `tracks` brings.
"""

import json
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.random import Generator
from numpy.typing import NDArray

from catalog.runtime.files import PARTIAL
from catalog.runtime.plugins import how_to_install
from catalog.simulation.grammar import ELEMENT_BP

RULES = (
    "activity: a peak of Gaussian shape, sd peak_bp, on the middle of each element. Its height is the element's "
    "activity times log-normal noise: of a promoter strength x (1 + enhancer_sum), of an enhancer strength.",
    "background: one level in domain_bp around each start site, up to halfway to the next one. The level is "
    "exp(c / 2), c = +-confounding x z + sqrt(1 - confounding^2) x noise, z the standardised log expression. The sign "
    "is + on most contigs and - on the flipped ones: what expression goes with there is the opposite.",
    "Both: constant over resolution_bp, times gamma noise of mean 1 and shape noise_shape, 0 where there is nothing.",
)
"""How the signals are made, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalConfig:
    """How the signals are made."""

    seed: int = 0
    resolution_bp: int = 32
    """Bases that share a value (bp)."""
    peak_bp: int = 250
    """Standard deviation of a peak of `activity` (bp)."""
    height_noise: float = 0.5
    """Standard deviation of the log of a peak's height that has nothing to do with the element's activity."""
    noise_shape: float = 4.0
    """Shape of the gamma noise of each value; the larger, the less noise."""
    domain_bp: int = 10_000
    """Extent of a level of `background` (bp)."""
    confounding: float = 0.8
    """Correlation of `background` with log expression, in [0, 1]."""
    flipped: tuple[str, ...] | None = None
    """Contigs on which that correlation is negative; None for the last third of them."""

    def __post_init__(self) -> None:
        for name in ("resolution_bp", "peak_bp", "domain_bp"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}=` is at least 1 bp; got {getattr(self, name)}")
        if not 0 <= self.confounding <= 1:
            raise ValueError(f"`confounding=` lies in [0, 1]; got {self.confounding}")
        if not (self.noise_shape > 0 and self.height_noise >= 0):
            raise ValueError(
                f"noise has a shape above 0 and a standard deviation of at least 0; got {self.noise_shape} and "
                f"{self.height_noise}"
            )


class SimulatedSignals(NamedTuple):
    """Paths of the files."""

    activity: Path
    """bigWig: marks active promoters and enhancers."""
    background: Path
    """bigWig: goes with expression, and the other way round on the flipped contigs."""
    description: Path
    """JSON: the config, the flipped contigs, the rules in words."""


def simulate_signals(folder: Path, config: SignalConfig | None = None) -> SimulatedSignals:
    """Write signals for a simulated genome, beside it.

    The same genome and config give the same values.

    Parameters
    ----------
    folder
        Where `catalog.simulation.genome.simulate` has written.
    config
        None for the default.

    Raises
    ------
    FileNotFoundError
        If no simulated genome is there.
    ValueError
        If it has no contig of a name in `config.flipped`.
    ModuleNotFoundError
        If pybigtools is not installed.
    """
    require_bigwig_writer()
    config = config or SignalConfig()
    described = folder / "simulation.json"
    if not described.exists():
        raise FileNotFoundError(
            f"{folder} holds no simulated genome ({described.name}); run `featurestore simulate` first"
        )
    simulated = json.loads(described.read_text())["config"]
    lengths = {f"sim{index + 1}": simulated["contig_length"] for index in range(simulated["n_contigs"])}
    flipped = _flipped(config, list(lengths))
    elements = pl.read_parquet(folder / "truth.parquet")
    genes = elements.filter(pl.col("element") == "promoter").join(
        pl.read_csv(folder / "targets.tsv", separator="\t"), on="gene_id", how="left", maintain_order="left"
    )
    activity_rng, background_rng = np.random.default_rng([simulated["seed"], config.seed, 17]).spawn(2)
    files = SimulatedSignals(folder / "activity.bw", folder / "background.bw", folder / "signals.json")
    partial = folder / f".{uuid.uuid4().hex}{PARTIAL}"
    try:
        partial.mkdir()
        written = SimulatedSignals(*(partial / path.name for path in files))
        _write(written.activity, lengths, _activity(elements, lengths, config, activity_rng), config)
        _write(written.background, lengths, _background(genes, lengths, flipped, config, background_rng), config)
        described_as = {
            "note": "Simulated signals: nothing was measured.",
            "config": asdict(config) | {"flipped": flipped},
            "rules": list(RULES),
        }
        written.description.write_text(json.dumps(described_as, indent=2) + "\n")
        for source, path in zip(written, files, strict=True):
            os.replace(source, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return files


def require_bigwig_writer() -> None:
    """Raise ModuleNotFoundError, with the mend, unless pybigtools is installed."""
    if find_spec("pybigtools") is None:
        raise ModuleNotFoundError(
            f"pybigtools, which writes simulated signals as bigWig, is not installed: {how_to_install('tracks')}",
            name="pybigtools",
        )


def _flipped(config: SignalConfig, contigs: Sequence[str]) -> list[str]:
    if config.flipped is None:
        return list(contigs[len(contigs) - len(contigs) // 3 :])
    unknown = sorted(set(config.flipped) - set(contigs))
    if unknown:
        raise ValueError(f"`flipped=` names {', '.join(unknown)}; the genome has {', '.join(contigs)}")
    return list(config.flipped)


Values = Iterator[tuple[str, NDArray[np.float64]]]
"""Of each contig its name and a value a step of `resolution_bp`."""


def _activity(elements: pl.DataFrame, lengths: dict[str, int], config: SignalConfig, rng: Generator) -> Values:
    active = elements["strength"] * (1 + elements["enhancer_sum"].fill_null(0))
    heights = active.to_numpy() * np.exp(config.height_noise * rng.standard_normal(len(elements)))
    middles = elements["start"].to_numpy() + ELEMENT_BP // 2
    reach = 3 * config.peak_bp // config.resolution_bp
    for contig, length in lengths.items():
        values = np.zeros(-(-length // config.resolution_bp))
        for index in np.flatnonzero((elements["contig"] == contig).to_numpy()):
            centre = int(middles[index]) // config.resolution_bp
            steps = np.arange(max(0, centre - reach), min(len(values), centre + reach + 1))
            away = (steps + 0.5) * config.resolution_bp - middles[index]
            values[steps] += heights[index] * np.exp(-0.5 * (away / config.peak_bp) ** 2)
        yield contig, _noisy(values, config, rng)


def _background(
    genes: pl.DataFrame, lengths: dict[str, int], flipped: Sequence[str], config: SignalConfig, rng: Generator
) -> Values:
    expressed = np.log1p(genes["expression"].to_numpy())
    sign = np.where(genes["contig"].is_in(flipped).to_numpy(), -1.0, 1.0)
    linked = sign * config.confounding * (expressed - expressed.mean()) / expressed.std()
    level = np.exp((linked + np.sqrt(1 - config.confounding**2) * rng.standard_normal(len(genes))) / 2)
    for contig, length in lengths.items():
        here = np.flatnonzero((genes["contig"] == contig).to_numpy())
        sites = genes["tss"].to_numpy()[here]
        here, sites = here[np.argsort(sites)], np.sort(sites)
        values = np.zeros(-(-length // config.resolution_bp))
        if len(here):
            steps = (np.arange(len(values)) + 0.5) * config.resolution_bp
            nearest = np.searchsorted((sites[1:] + sites[:-1]) / 2, steps)
            inside = np.abs(steps - sites[nearest]) <= config.domain_bp / 2
            values[inside] = level[here][nearest[inside]]
        yield contig, _noisy(values, config, rng)


def _noisy(values: NDArray[np.float64], config: SignalConfig, rng: Generator) -> NDArray[np.float64]:
    covered = np.flatnonzero(values)
    values[covered] *= rng.gamma(config.noise_shape, 1 / config.noise_shape, len(covered))
    return values


def _write(path: Path, lengths: dict[str, int], signal: Values, config: SignalConfig) -> None:
    """Write a bigWig; contigs go in the order of their names, which the format asks for."""
    import pybigtools

    values = dict(signal)

    def intervals() -> Iterator[tuple[str, int, int, float]]:
        for contig in sorted(lengths):
            for step in np.flatnonzero(values[contig]).tolist():
                start = step * config.resolution_bp
                end = min(start + config.resolution_bp, lengths[contig])
                yield contig, start, end, float(np.float32(values[contig][step]))

    pybigtools.open(str(path), "w").write(dict(sorted(lengths.items())), intervals())
