"""Named transcription-factor motifs: short words that mark promoters, enhancers and insulators.

Belongs here: the table, IUPAC letters, and a consensus turned into a matrix. Does not: finding motifs in sequence
(`builders.extractors.motif`), planting them (`catalog.simulation.genome`).

The matrices are derived from consensus words, not counted from measured sites: a base that the consensus allows is as
good as any other base allowed at that place. That is cruder than the matrices of JASPAR or HOCOMOCO, needs no download,
and can be read with the eye. A word that would occur by chance more often than once in 40,000 places is written with
more of its flank, or narrowed; `Motif.source` says where. Flanks of a palindrome are added evenly: off its
centre, its two strands would match one base apart, and each site would count twice.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

IUPAC = {
    "A": "A",
    "C": "C",
    "G": "G",
    "T": "T",
    "R": "AG",
    "Y": "CT",
    "S": "CG",
    "W": "AT",
    "K": "GT",
    "M": "AC",
    "B": "CGT",
    "D": "AGT",
    "H": "ACT",
    "V": "ACG",
    "N": "ACGT",
}
"""Bases that each letter of a consensus allows (NC-IUB 1984)."""

SITES = 20.0
"""Observed sites that a consensus stands for in `pwm`."""
PSEUDOCOUNT = 1.0
"""Sites' worth of uniform background added to each position in `pwm`: a quarter a base."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motif:
    """One named motif."""

    name: str
    """Usual short name of the factor or element."""
    consensus: str
    """IUPAC letters, 5' to 3', 8 to 20 of them."""
    family: str
    """What binds it and what it marks, in words."""
    source: str
    """Where the consensus is known from; says so where flanks were added or the word was narrowed."""
    group: Literal["TF", "core-promoter"] = "TF"
    """`core-promoter` for the classical promoter elements (TATA, GC and CCAAT box)."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.consensus) - set(IUPAC))
        if unknown:
            raise ValueError(
                f"consensus {self.consensus!r} of {self.name} holds {unknown}; use IUPAC: {''.join(IUPAC)}"
            )
        if not 8 <= len(self.consensus) <= 20:
            raise ValueError(
                f"consensus {self.consensus!r} of {self.name} has {len(self.consensus)} letters; "
                "give 8 to 20: add flanks to a shorter one, cut the ends off a longer one"
            )


MOTIFS: tuple[Motif, ...] = (
    Motif(
        name="TATA",
        consensus="STATAAAWRS",
        family="TATA box, bound by TBP; focused, regulated promoters, 30 bp before the start",
        source="Bucher 1990, J Mol Biol 212:563 (TATAWAWR in G/C-rich flanks; narrowed)",
        group="core-promoter",
    ),
    Motif(
        name="SP1",
        consensus="KGGGCGGRRY",
        family="GC box, bound by SP and KLF zinc fingers; CpG-island promoters",
        source="Kadonaga et al. 1986, Trends Biochem Sci 11:20",
        group="core-promoter",
    ),
    Motif(
        name="NFY",
        consensus="RRCCAATSRG",
        family="CCAAT box, bound by NF-Y; promoters, 60 to 100 bp before the start",
        source="Mantovani 1998, Nucleic Acids Res 26:1135 (RRCCAATSR; one flanking G added)",
        group="core-promoter",
    ),
    Motif(
        name="NRF1",
        consensus="RCGCANGCGY",
        family="nuclear respiratory factor 1; CpG-island promoters of housekeeping genes",
        source="Xie et al. 2005, Nature 434:338, Table 1",
    ),
    Motif(
        name="ETS",
        consensus="ACCGGAAGTR",
        family="ELK, GABPA and other ETS factors; housekeeping promoters",
        source="Wei et al. 2010, EMBO J 29:2147 (class I ETS)",
    ),
    Motif(
        name="YY1",
        consensus="GCCATNTTG",
        family="YY1 zinc finger; start sites of housekeeping genes and promoter-enhancer contacts",
        source="Xie et al. 2005, Nature 434:338, Table 1",
    ),
    Motif(
        name="CREB",
        consensus="TGACGTCA",
        family="cAMP response element, bound by CREB and ATF; inducible promoters",
        source="Montminy et al. 1986, PNAS 83:6682",
    ),
    Motif(
        name="E2F",
        consensus="TTTSGCGCS",
        family="E2F and DP; promoters of cell-cycle genes",
        source="Nevins 1992, Science 258:424 (TTTSSCGC; narrowed, one flanking S added)",
    ),
    Motif(
        name="MYC",
        consensus="CCACGTGG",
        family="E-box, bound by MYC, MAX and USF; promoters of growth genes",
        source="Blackwell et al. 1990, Science 250:1149 (CACGTG; one base of flank added on each side)",
    ),
    Motif(
        name="CTCF",
        consensus="CCASYAGRKGGCRS",
        family="CTCF core; insulators and loop anchors",
        source="Kim et al. 2007, Cell 128:1231",
    ),
    Motif(
        name="REST",
        consensus="TCAGCACCACGGACAGCGCC",
        family="RE1 element, bound by REST; silencers of neuronal genes",
        source="Schoenherr et al. 1996, PNAS 93:9881 (without its first T)",
    ),
    Motif(
        name="NFKB",
        consensus="GGGRNTTTCC",
        family="kappa-B site, bound by RELA; enhancers of immune response",
        source="Kunsch et al. 1992, Mol Cell Biol 12:4412",
    ),
    Motif(
        name="AP1",
        consensus="ATGASTCAT",
        family="AP-1 (FOS and JUN), also BATF; enhancers, signal-responsive",
        source="Glover and Harrison 1995, Nature 373:257 (TGASTCA; one base of flank added on each side)",
    ),
    Motif(
        name="GATA",
        consensus="SAGATAAGR",
        family="GATA factors; enhancers of blood and gut",
        source="Merika and Orkin 1993, Mol Cell Biol 13:3999 (WGATAR; flanks added)",
    ),
    Motif(
        name="CEBPB",
        consensus="RTTGCGYAAY",
        family="C/EBP; enhancers of liver, fat and myeloid cells",
        source="Osada et al. 1996, J Biol Chem 271:3891",
    ),
    Motif(
        name="FOXA",
        consensus="TRTTTACWYW",
        family="FOXA (HNF-3) forkhead, a pioneer factor; enhancers of endoderm",
        source="Overdier et al. 1994, Mol Cell Biol 14:2755 (TRTTTRYTY; narrowed)",
    ),
    Motif(
        name="HNF4A",
        consensus="RGGNCAAAGGTCA",
        family="HNF4A on a direct repeat spaced by one; enhancers and promoters of liver",
        source="Sladek et al. 1990, Genes Dev 4:2353 (direct repeat of AGGTCA)",
    ),
    Motif(
        name="RUNX",
        consensus="CTGTGGTTW",
        family="RUNX; enhancers of blood and bone",
        source="Meyers et al. 1993, Mol Cell Biol 13:6336 (TGYGGT; flanks added)",
    ),
    Motif(
        name="POU2F",
        consensus="ATGCAAAT",
        family="octamer, bound by OCT1 and OCT2; promoters and enhancers, strong in B cells",
        source="Falkner and Zachau 1984, Nature 310:71",
    ),
    Motif(
        name="SPI1",
        consensus="AAAGAGGAAGTG",
        family="PU.1; enhancers of myeloid and B cells",
        source="Ray-Gallet et al. 1995, Oncogene 11:303",
    ),
    Motif(
        name="IRF",
        consensus="GAAASYGAAASY",
        family="interferon regulatory factors; interferon-responsive promoters and enhancers",
        source="Tanaka et al. 1993, Mol Cell Biol 13:4531",
    ),
    Motif(
        name="TEAD",
        consensus="RCATTCCWGG",
        family="M-CAT element, bound by TEAD with YAP; enhancers of growth and muscle",
        source="Farrance et al. 1992, J Biol Chem 267:17234 (CATTCC; flanks added)",
    ),
    Motif(
        name="TP53",
        consensus="RRRCWWGYYYRRRCWWGYYY",
        family="p53, two half-sites without a gap; DNA-damage response",
        source="el-Deiry et al. 1992, Nat Genet 1:45",
    ),
    Motif(
        name="MEF2",
        consensus="CTAWWWWTAG",
        family="MEF2; enhancers and promoters of muscle and neurons",
        source="Andres et al. 1995, J Biol Chem 270:23246",
    ),
)
"""Every motif, in the order of the feature set's channels."""


def find_motif(name: str) -> Motif:
    """Find a motif by name.

    Raises
    ------
    KeyError
        If the table has none of that name.
    """
    for motif in MOTIFS:
        if motif.name == name:
            return motif
    raise KeyError(f"no motif is called {name!r}; there are {', '.join(motif.name for motif in MOTIFS)}")


def pwm(consensus: str) -> NDArray[np.float64]:
    """Turn a consensus into base probabilities.

    The consensus counts as `SITES` = 20 sites that share the allowed bases evenly, plus `PSEUDOCOUNT` = 1 site of
    uniform background, so that a base not allowed has probability 0.25 / 21 and its log-odds score is finite.

    Returns
    -------
    Probabilities, shape `(length, 4)`, columns A, C, G, T, float64; each row sums to 1.
    """
    allowed = np.array([[base in IUPAC[letter] for base in "ACGT"] for letter in consensus], dtype=np.float64)
    counts = SITES * allowed / allowed.sum(axis=1, keepdims=True) + PSEUDOCOUNT / 4
    return np.asarray(counts / (SITES + PSEUDOCOUNT))
