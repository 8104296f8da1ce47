"""What Sei alone can be set to: its files and its arithmetic.

Belongs here: the options that `--set` takes for `--extractor sei`. Does not: what the arithmetics are
(`builders.extractors.sei.precision`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class SeiSettings:
    """Files and precision of Sei."""

    weights: Path
    """sei.pth as published, unpacked from sei_model.tar.gz (Zenodo record 4906997), or a safetensors file with the same
    parameters."""
    projector: Path | None = None
    """projvec_targets.npy, which lies next to sei.pth; needed for the feature set classes."""
    names: Path | None = None
    """target.names, one profile a line; without it profiles are named by number."""
    precision: Literal["fp32", "tf32", "bf16"] = "fp32"
    """Arithmetic: fp32 (TF32 off), or faster and less exact tf32 (GPUs of NVIDIA only) or bf16."""
    results: Literal["float16", "float32"] | None = None
    """Type in which features leave the device. By default float16 from a GPU, which halves what crosses the bus, and
    float32 from a CPU; a store of --dtype float32 that is built on GPUs wants float32."""
    fused: bool | None = None
    """Do what lies between convolutions in one Triton kernel each, on a GPU: the same values with less traffic. By
    default where there is a GPU and Triton."""
