"""Regulatory grammar of the simulated genome: what regulates a gene, and by how much.

Belongs here: the grammar in words and its parameters. Does not: writing the genome (`catalog.simulation.genome`).
"""

from dataclasses import dataclass, replace
from typing import Literal

Density = Literal["human"]
"""Promoters of which organism; without one, the default genome has 24.4 in a Mbp, four times as many as the human."""
PROMOTERS_PER_MBP: dict[Density, float] = {"human": 6.25}
"""MANE v1.4 has 19,338 Select transcripts on the 3,088 Mbp of GRCh38: 6.4 in a window of 251 bins of 4,096 bp."""
PROXIMAL = {"A": ("SP1", "NRF1", "ETS", "YY1"), "B": ("CREB", "POU2F")}
"""Motifs whose number sets a promoter's strength, by class."""
DISTAL = {"A": ("NFKB", "AP1"), "B": ("GATA", "CEBPB")}
"""Motifs of the enhancers, by kind."""
ELEMENT_BP = 1000
"""Length of a promoter (half on each side of the start site) and of an enhancer."""
GRAMMAR = (
    "Background: independent bases. The G+C share is constant within an isochore and varies between them. Three CpGs "
    "in four have decayed to TpG or CpA. Each contig begins with a run of N.",
    "Promoter: 1,000 bp centred on the start site. Class A (housekeeping-like): 65 % G+C, no CpG decay, SP1, NRF1, ETS "
    "and YY1 sites. Class B (regulated): background, a TATA box 30 bp upstream, CREB and POU2F sites. The number of "
    "sites (TATA not counted) is uniform from 0 to max_promoter_sites; strength s = sites / max_promoter_sites.",
    "Enhancer: 1,000 bp of background, kind A with NFKB and AP1 sites, kind B with GATA and CEBPB sites. Their number "
    "is uniform from min_enhancer_sites to max_enhancer_sites; strength w = sites / 8.",
    "Site: drawn from its consensus, each allowed base being equally likely, on either strand (TATA: on the gene's).",
    "An enhancer acts on a gene if its kind is the promoter's class and the distance d between its middle and the "
    "start site lies in [min_distance, max_distance], on either side. E = sum of w exp(-d / decay) over these.",
    "log expression = base of the class + promoter_effect s + enhancer_effect s E + noise. The noise is Gaussian and "
    "leaves noiseless_share of the variance to the rest. expression = max(0, exp(log expression) - 1).",
    "Decoys: single sites that turn up by chance, enhancers of the other kind, enhancers out of reach.",
    "Annotations are made up. Name and summary word the promoter's class (housekeeping-like for A, tissue-specific for "
    "B); the wording is right in wording_accuracy of the genes. A quarter of the genes has no summary. Tissues, "
    "aliases and designations mean nothing.",
)
"""The rules in words."""
SITE_SLOT_BP = 25
"""Room for one site (bp): longer than any motif used, so that sites in different slots never overlap."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulationConfig:
    """How large the genome is and how its genes are regulated. The defaults make 82 Mbp, or 20,000 bins of 4,096 bp."""

    seed: int = 0
    n_contigs: int = 6
    contig_length: int = 13_650_000
    """Bases a contig (bp)."""
    leading_n: int = 10_000
    """Unknown bases at the start of each contig (bp)."""
    isochore_bp: int = 100_000
    """Bases of equal G+C share (bp)."""
    gc_mean: float = 0.44
    """Mean G+C share before the CpGs decay, which leaves 0.41."""
    gc_sd: float = 0.04
    """Standard deviation of the G+C share between isochores."""
    n_genes: int = 2000
    class_a_share: float = 0.6
    """Probability that a promoter is of class A, in [0, 1]; enhancers are of either kind with equal probability."""
    max_promoter_sites: int = 6
    enhancers_per_mbp: float = 7.3
    """Density over the genome; 7.3 puts one into 3 % of the bins of 4,096 bp."""
    min_enhancer_sites: int = 4
    max_enhancer_sites: int = 12
    min_distance: int = 50_000
    """Shortest distance at which an enhancer acts (bp, included)."""
    max_distance: int = 450_000
    """Longest distance at which an enhancer acts (bp, included)."""
    decay: int = 150_000
    """Distance over which an enhancer's effect falls to 1/e (bp)."""
    base_a: float = 1.5
    """Log expression of a class-A promoter without sites."""
    base_b: float = 0.5
    """Log expression of a class-B promoter without sites."""
    promoter_effect: float = 2.0
    enhancer_effect: float = 2.0
    noiseless_share: float = 0.8
    """Share of the variance of log expression that the sequence explains, in (0, 1]."""
    wording_accuracy: float = 0.8
    """Probability that an annotation describes the promoter class correctly, in [0, 1]."""

    def __post_init__(self) -> None:
        at_least = {"n_contigs": 1, "isochore_bp": 1, "n_genes": 1, "leading_n": 0, "decay": 1, "enhancers_per_mbp": 0}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is at least {least}; got {getattr(self, name)}")
        for name in ("class_a_share", "wording_accuracy", "gc_mean", "gc_sd"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies in [0, 1]; got {getattr(self, name)}")
        if not 0 < self.noiseless_share <= 1:
            raise ValueError(f"noiseless_share lies in (0, 1], 1 meaning no noise; got {self.noiseless_share}")
        if not 0 <= self.min_distance <= self.max_distance:
            raise ValueError(
                f"enhancers act between min_distance and max_distance, 0 <= min <= max; got {self.min_distance} and "
                f"{self.max_distance}"
            )
        most = ELEMENT_BP // SITE_SLOT_BP
        # The promoter keeps two slots free for the TATA box.
        if not 1 <= self.max_promoter_sites <= most - 2:
            raise ValueError(f"max_promoter_sites lies in [1, {most - 2}]; got {self.max_promoter_sites}")
        if not 1 <= self.min_enhancer_sites <= self.max_enhancer_sites <= most:
            raise ValueError(
                f"an enhancer holds 1 <= min_enhancer_sites <= max_enhancer_sites <= {most} sites; got "
                f"{self.min_enhancer_sites} and {self.max_enhancer_sites}"
            )
        elements = -(-self.n_genes // self.n_contigs) + -(-self.n_enhancers // self.n_contigs)
        needed = self.leading_n + elements * ELEMENT_BP
        if self.contig_length < needed:
            raise ValueError(
                f"a contig of {self.contig_length} bp cannot hold {elements} promoters and enhancers of "
                f"{ELEMENT_BP} bp after {self.leading_n} N; give contig_length >= {needed}, or fewer genes"
            )

    @property
    def n_enhancers(self) -> int:
        """Enhancers in the whole genome."""
        return round(self.enhancers_per_mbp * self.n_contigs * self.contig_length / 1e6)


def at_density(config: SimulationConfig, density: Density) -> SimulationConfig:
    """Make the contigs so long that the same genes lie as densely as those of an organism.

    Enhancers are counted by the Mbp: each gene keeps as many within its reach.

    Raises
    ------
    ValueError
        If `density` is none of `PROMOTERS_PER_MBP`.
    """
    if density not in PROMOTERS_PER_MBP:
        raise ValueError(f"`density=` is one of {', '.join(PROMOTERS_PER_MBP)}; got {density!r}")
    return replace(config, contig_length=round(config.n_genes / config.n_contigs / PROMOTERS_PER_MBP[density] * 1e6))
