"""How Prism is set: what the release does, what the paper writes, and what neither has, as named options.

Belongs here: the options, the presets. Does not: the network (`model.networks.prism.model`), how it is trained
(`model.training.config`).

The paper is arXiv 2602.21550; what is said of the release is the authors' code, yangzhao1230/Prism at e0fe0c7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, get_args

from model.saved_config import check_counts

Trunk = Literal["bimamba", "bimamba_ref", "cnn", "transformer", "gru"]
Adjust = Literal["hidden", "prediction"]
Predict = Literal["observational", "do"]
States = Literal["conditional", "dictionary"]
Readout = Literal["centre", "all"]
SignalTransform = Literal["raw", "log1p", "arcsinh"]
TargetUnit = Literal["log10", "standardised"]

ALL = "all"
"""Every signal, in place of names."""
_GATES_HALVE = 64
"""The three pools of the gates divide a window by this; a shorter one leaves them nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrismConfig:
    """How Prism is set. Plain JSON values; the defaults are those of the release."""

    trunk: Trunk = "bimamba"
    """What reads along the window: `bimamba` (bidirectional Mamba; needs the package mamba-ssm and a GPU),
    `bimamba_ref` (the same layers and weights on any device, slower), `cnn`, `transformer` or `gru`."""
    width: int = 128
    """Components of each position."""
    layers: int = 4
    """Layers of the trunk."""
    kernel: int = 9
    """`cnn`: positions that a convolution sees, odd."""
    heads: int = 4
    """`transformer`: attention heads."""
    pool: int = 1
    """Bases that are averaged into one position before the trunk; 1 as released. Gates see every base."""
    sequence: bool = True
    """Read the bases. False is a control."""
    signals: tuple[str, ...] = (ALL,)
    """Signals to read, by name, or `all`; `[]` for none, which is a control."""
    covariates: bool = True
    """Read the covariates of the genes. False leaves them out."""
    signal_transform: SignalTransform = "raw"
    """Of each signal, before it is standardised: `raw` as measured, `log1p`, or `arcsinh`, which takes negatives."""
    standardise_signals: bool = False
    """Bring each signal to mean 0 and standard deviation 1 over the bases of the training genes."""
    standardise_covariates: bool = False
    """Bring each covariate to mean 0 and standard deviation 1 over the training genes."""
    target_unit: TargetUnit = "log10"
    """What is learned of the expression: log10(1 + x), as in the release, or log(1 + x) standardised on the training
    genes. It decides where the Huber loss turns linear."""
    n_states: int = 2
    """Background states that are averaged over. 0 for no intervention: the plain model, which is that of sequence and
    signals side by side, since a linear map of both is the sum of one of each."""
    states: States = "conditional"
    """`conditional`: each gene's own gates, computed from its signals, equally weighted (the release). `dictionary`:
    the same states for every gene, found by k-means over the backgrounds of the training genes before the training,
    weighted by how many genes are of each."""
    gate: tuple[str, ...] = (ALL,)
    """Signals that the gates read and weigh, by name, or `all`: those that are background rather than foreground."""
    adjust: Adjust = "hidden"
    """Average over the states before the head (`hidden`, the release), or average their predictions (`prediction`, the
    paper's formula)."""
    predict: Predict = "observational"
    """The prediction that is reported first: without gates (`observational`, the release), or averaged over the states
    (`do`)."""
    readout: Readout = "centre"
    """Average the `centre_bp` bases around the TSS, whatever the length of the window (the release), or `all`."""
    centre_bp: int = 2000
    """Bases that `readout=centre` averages."""
    intervention_weight: float = 1.0
    """Weight of the loss of the averaged prediction, above 0; for none of it, `n_states=0`."""
    diversity_weight: float = 1.0
    """Weight of the loss that keeps the states apart."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is one of {', '.join(map(repr, allowed))}; got {getattr(self, name)!r}")
        check_counts(self, ("width", "layers", "kernel", "heads"))
        check_counts(self, ("pool", "centre_bp"), most=1 << 20)
        if not 0 <= self.n_states <= 1024:
            raise ValueError(f"n_states counts from 0 (no intervention) to 1,024, got {self.n_states}")
        if self.kernel % 2 == 0 or self.width % (2 * self.heads):
            raise ValueError(
                f"kernel is odd, so that it has a middle, and width a multiple of 2 * heads; got kernel={self.kernel}, "
                f"width={self.width}, heads={self.heads}"
            )
        if not self.intervention_weight > 0 or not self.diversity_weight >= 0:
            raise ValueError(
                "intervention_weight is above 0 (for no intervention set n_states=0), and diversity_weight 0 or more; "
                f"got {self.intervention_weight} and {self.diversity_weight}"
            )
        if not (self.sequence or self.signals or self.covariates):
            raise ValueError("nothing is left to read; set one of sequence=true, signals=all, covariates=true")
        if self.n_states and not (self.signals and self.gate):
            raise ValueError("states gate signals, and none is read or gated; set n_states=0, or name signals")

    def named_signals(self, there: tuple[str, ...]) -> tuple[str, ...]:
        """Give the signals that are read, of those that there are; a ValueError names one that there is not."""
        return _named("signals", self.signals, there)

    def gated_signals(self, there: tuple[str, ...]) -> tuple[str, ...]:
        """Give the signals that gates weigh, of those that are read."""
        return _named("gate", self.gate, self.named_signals(there)) if self.n_states else ()

    def check_length(self, length: int) -> None:
        """Refuse, with a ValueError, windows of so many bases that cannot be read."""
        if length < 1 or length % self.pool:
            raise ValueError(f"a window is a multiple of pool={self.pool} bases long, got {length}")
        if self.n_states and self.states == "conditional" and length < _GATES_HALVE:
            raise ValueError(f"the gates read windows of at least {_GATES_HALVE} bases, got {length}; set n_states=0")


def _named(setting: str, wanted: tuple[str, ...], there: tuple[str, ...]) -> tuple[str, ...]:
    if wanted == (ALL,):
        return there
    lacking = [name for name in wanted if name not in there]
    if lacking:
        raise ValueError(
            f"{setting} names {', '.join(lacking)}, and the signals are {', '.join(there) or '(none)'}; name some of "
            "these, or all"
        )
    return tuple(name for name in there if name in wanted)


_CHOICES: dict[str, tuple[str, ...]] = {
    "trunk": get_args(Trunk),
    "states": get_args(States),
    "adjust": get_args(Adjust),
    "predict": get_args(Predict),
    "readout": get_args(Readout),
    "signal_transform": get_args(SignalTransform),
    "target_unit": get_args(TargetUnit),
}

_PAPER = PrismConfig()
_BEST = PrismConfig(
    trunk="cnn",
    width=32,
    layers=3,
    signal_transform="log1p",
    standardise_signals=True,
    standardise_covariates=True,
    target_unit="standardised",
)
PRESETS: Mapping[str, PrismConfig] = MappingProxyType({"paper": _PAPER, "best": _BEST})
"""`paper` as released, and `best`."""
