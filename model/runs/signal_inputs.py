"""Which measured signals and covariates a model reads: options of `featurestore train` and `sweep`.

Belongs here: the options, a field an option (`featurestore.cli.derived`), what a run records of them. Does not: reading
them (`model.runs.signals`). Nothing here imports torch, so that the command line can show its help at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from catalog.runtime.settings import apply_settings, plain_settings
from model.registry import find_model

CONTEXT = 2000
"""Bases of a window with signals, where nobody chooses: those of the Prism paper."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalInputs:
    """What a model of measured signals reads of a gene."""

    signals: tuple[str, ...] = ()
    """Feature sets of measured signals, comma-separated, for a model that reads them (prism): of any bin sizes;
    NAME@ANCHORS for an anchored array, such as the viewpoints of Hi-C. Their channels are chosen by --channels."""
    sequence: str | None = "sequence"
    """With --signals: feature set of the bases (`featurestore build-sequence`); none for windows without them."""
    covariates: Path | None = None
    """With --signals: table of numbers a gene, with a gene column."""
    covariate_columns: tuple[str, ...] | None = None
    """Columns of --covariates to read, comma-separated. [default: all]"""
    stranded: Mapping[str, str] | None = field(default=None, metadata={"flag": "--stranded", "metavar": "PLUS=MINUS"})
    """Two signals of one assay, on the plus and on the minus strand, that change places with --orient gene;
    PLUS=-MINUS where the one of the minus strand is stored as negative values. Repeatable."""
    context: int | None = None
    """With --signals: bases of a window (bp), of which half lie upstream of the TSS. [default: 2000]"""

    def __post_init__(self) -> None:
        if self.sequence in ("none", ""):
            object.__setattr__(self, "sequence", None)
        if self.signals:
            return
        given = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
        if given:
            options = ", ".join(f"`{name}=`" for name in given)
            raise ValueError(
                f"{options} go with measured signals: name their feature sets, `signals=`, or leave it out"
            )


def require_inputs(model: str, inputs: SignalInputs) -> None:
    """Refuse, with a ValueError, a model that does not read what is named; it is asked before anything is loaded."""
    reads = find_model(model).reads
    if reads == "signals" and not inputs.signals:
        raise ValueError(f"{model} reads sequence with measured signals: name their feature sets, `signals=`")
    if reads == "bins" and inputs.signals:
        raise ValueError(f"{model} reads windows of bins: leave `signals=` out, or take prism-best")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRecord:
    """What a run records of the signals and covariates that it learned from."""

    sets: tuple[str, ...]
    """Feature sets of the signals."""
    sequence: str | None
    signals: tuple[str, ...]
    """Names, in order."""
    covariates: str | None = None
    """Where their table was."""
    covariate_columns: tuple[str, ...] = ()
    stranded: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Give plain JSON."""
        return dict(plain_settings(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Read what `to_json` gave; a ValueError says what is not of its type."""
        # mypy does not tell a class that is a type variable from an instance of one.
        made: Self = apply_settings(cls, document)  # type: ignore[arg-type]
        return made
