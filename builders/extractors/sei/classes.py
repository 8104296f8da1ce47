"""The 61 columns that Sei's profiles are projected to.

Belongs here: labels and names of the sequence classes, in the order of the projection's rows.
Does not: the projection (`builders.extractors.sei.extractor`).
"""

from catalog import Channel

N_CLUSTERS = 61
"""Rows of `projvec_targets.npy`: one for each cluster of genomic sequence, largest first."""

SEQUENCE_CLASSES = (
    ("PC1", "Polycomb / Heterochromatin"),
    ("L1", "Low signal"),
    ("TN1", "Transcription"),
    ("TN2", "Transcription"),
    ("L2", "Low signal"),
    ("E1", "Stem cell"),
    ("E2", "Multi-tissue"),
    ("E3", "Brain / Melanocyte"),
    ("L3", "Low signal"),
    ("E4", "Multi-tissue"),
    ("TF1", "NANOG / FOXA1"),
    ("HET1", "Heterochromatin"),
    ("E5", "B-cell-like"),
    ("E6", "Weak epithelial"),
    ("TF2", "CEBPB"),
    ("PC2", "Weak Polycomb"),
    ("E7", "Monocyte / Macrophage"),
    ("E8", "Weak multi-tissue"),
    ("L4", "Low signal"),
    ("TF3", "FOXA1 / AR / ESR1"),
    ("PC3", "Polycomb"),
    ("TN3", "Transcription"),
    ("L5", "Low signal"),
    ("HET2", "Heterochromatin"),
    ("L6", "Low signal"),
    ("P", "Promoter"),
    ("E9", "Liver / Intestine"),
    ("CTCF", "CTCF-Cohesin"),
    ("TN4", "Transcription"),
    ("HET3", "Heterochromatin"),
    ("E10", "Brain"),
    ("TF4", "OTX2"),
    ("HET4", "Heterochromatin"),
    ("L7", "Low signal"),
    ("PC4", "Polycomb / Bivalent stem cell Enh"),
    ("HET5", "Centromere"),
    ("E11", "T-cell"),
    ("TF5", "AR"),
    ("E12", "Erythroblast-like"),
    ("HET6", "Centromere"),
)
"""Label and name of the 40 largest clusters, by rank: `model/seqclass.names` of FunctionLab/sei-framework."""


def class_channels() -> tuple[Channel, ...]:
    """Describe the 61 columns: the 40 sequence classes by label (names repeat), then the clusters that have no name."""
    named = [
        Channel(name=label, description=name, group=label.rstrip("0123456789"), low_signal=name == "Low signal")
        for label, name in SEQUENCE_CLASSES
    ]
    unnamed = [
        Channel(
            name=f"cluster{rank}",
            description="Unnamed cluster: little enrichment, or repeats",
            group="cluster",
            low_signal=True,
        )
        for rank in range(len(named), N_CLUSTERS)
    ]
    return (*named, *unnamed)
