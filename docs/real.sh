#!/bin/sh
# Real biology, then the whole way on real files.
# Usage: sh docs/real.sh DATA OUT     (BIN: where `featurestore` and `python` are; `make real` calls it so)
#
# 1. Puffin's published weights over 65 windows of hg38, beside CAGE, DNase and RNA that were measured there; figures.
# 2. A piece of GRCh38 and a whole bacterium: Puffin and motifs into stores, real genes, real annotations, real
#    expression, GTA. Only 17 genes have sequence in that piece: this shows that the way holds on real input. It does
#    not show how well GTA predicts, and the scores that it prints mean nothing.
#
# DATA holds the folders named below, as each folder's README describes them.
set -eu
DATA=$1
OUT=$2
PATH=${BIN:+$(cd "$BIN" && pwd):}$PATH
for needed in baskerville_tiny_hg38 real_weights/puffin.pth grch38_regions/genome.chr1_chr2_chrM.fa.gz ecoli_o157_sakai \
    mane_v1.4 ncbi_gene gm12878_rampage; do
    if [ ! -e "$DATA/$needed" ]; then
        echo "no $DATA/$needed; say where the real data lie: make real DATA=folder" >&2
        exit 2
    fi
done
mkdir -p "$OUT"

PUFFIN="--extractor puffin --set weights=$DATA/real_weights/puffin.pth"
WINDOWS=$OUT/windows.store
GENOME=$DATA/grch38_regions/genome.chr1_chr2_chrM.fa.gz
STORE=$OUT/grch38.store
RUN=$OUT/gta-251
TABLES="--genes $DATA/mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz
    --annotations $DATA/ncbi_gene/Homo_sapiens.gene_info.2016.gz
    --targets $DATA/gm12878_rampage/gm12878_rampage_rpm_at_mane_tss.tsv --target-column rpm"

set -x
[ -e "$OUT/windows/genes.tsv" ] || python benchmarks/real_biology.py files "$DATA" "$OUT/windows"
featurestore build "$WINDOWS" --fasta "$OUT/windows/genome.fa" $PUFFIN --bin-size 32
featurestore build-tracks "$WINDOWS" --fasta "$OUT/windows/genome.fa" --bin-size 32 \
    --track "cage_plus=$OUT/windows/cage_plus.bw" --track "cage_minus=$OUT/windows/cage_minus.bw" \
    --track "dnase=$OUT/windows/dnase.bw" --track "rna=$OUT/windows/rna.bw"
python benchmarks/real_biology.py look "$OUT"

featurestore plan "$STORE" --fasta "$GENOME" --extractor motif --offsets 0,2048
featurestore build "$STORE" --fasta "$GENOME" --extractor motif --offsets 0,2048
featurestore verify "$STORE" --crc --recompute 50 --fasta "$GENOME"
featurestore build "$OUT/puffin.store" --fasta "$GENOME" $PUFFIN --bin-size 128
featurestore build-anchors "$STORE" --anchors "$DATA/mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz" --name mane \
    --fasta "$GENOME" --extractor motif
featurestore seal "$STORE"
featurestore build "$OUT/ecoli.store" --fasta "$DATA"/ecoli_o157_sakai/*.fna.gz --extractor motif
featurestore verify "$OUT/ecoli.store" --crc
featurestore get "$STORE" chr2:46504 --feature-set motif --n-bins 251 --out "$OUT/FAM110C.tsv"
MANE=$DATA/mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz
featurestore plot "$STORE" motif chr2:46504 --n-bins 251 --genes "$MANE" --out "$OUT/FAM110C.png" \
    --title "FAM110C (chr2:46,505, -): 1.03 Mb of GRCh38; left of base 1 there is no sequence"
featurestore plot "$OUT/puffin.store" puffin chr1:960000 --n-bins 251 --genes "$MANE" --out "$OUT/NOC2L.png" \
    --title "KLHL17 and NOC2L, from one promoter (chr1:960,000): initiation predicted by Puffin"
featurestore train "$STORE" $TABLES --model gta-best --n-bins 251 --epochs 3 --out "$RUN"
featurestore evaluate "$RUN" --store "$STORE" $TABLES --subset all --report "$OUT/run.html"
featurestore predict "$RUN" --store "$STORE" $TABLES --out "$OUT/predictions.parquet"
set +x
echo
echo "Predicted beside measured: $OUT/predicted_against_measured.png, $OUT/initiation.png, $OUT/windows.json."
echo "Few genes have sequence in the piece of GRCh38: its scores show that the way holds on real input, not how well GTA"
echo "predicts."
