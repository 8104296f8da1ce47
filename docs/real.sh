#!/bin/sh
# The way over real files: a piece of GRCh38 and a whole bacterium, real genes, real annotations, real expression.
# Usage: sh docs/real.sh DATA OUT     (BIN: where `featurestore` is; `make real` calls it so)
#
# DATA holds grch38_regions/, ecoli_o157_sakai/, mane_v1.4/, ncbi_gene/ and gm12878_rampage/, as each folder's README
# describes them. Only 17 genes have sequence in that piece of the genome: this shows that the way holds on real input.
# It does not show how well GTA predicts, and the scores that it prints mean nothing.
set -eu
DATA=$1
OUT=$2
PATH=${BIN:+$(cd "$BIN" && pwd):}$PATH
for needed in grch38_regions/genome.chr1_chr2_chrM.fa.gz ecoli_o157_sakai mane_v1.4 ncbi_gene gm12878_rampage; do
    if [ ! -e "$DATA/$needed" ]; then
        echo "no $DATA/$needed; say where the real data lie: make real DATA=folder" >&2
        exit 2
    fi
done
mkdir -p "$OUT"

GENOME=$DATA/grch38_regions/genome.chr1_chr2_chrM.fa.gz
STORE=$OUT/grch38.store
RUN=$OUT/gta-251
TABLES="--genes $DATA/mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz
    --annotations $DATA/ncbi_gene/Homo_sapiens.gene_info.2016.gz
    --targets $DATA/gm12878_rampage/gm12878_rampage_rpm_at_mane_tss.tsv --target-column rpm"

set -x
featurestore plan "$STORE" --fasta "$GENOME" --extractor motif --offsets 0,2048
featurestore build "$STORE" --fasta "$GENOME" --extractor motif --offsets 0,2048
featurestore verify "$STORE" --crc --recompute 50 --fasta "$GENOME"
featurestore build-anchors "$STORE" --anchors "$DATA/mane_v1.4/MANE.GRCh38.v1.4.summary.txt.gz" --name mane \
    --fasta "$GENOME" --extractor motif
featurestore seal "$STORE"
featurestore build "$OUT/ecoli.store" --fasta "$DATA"/ecoli_o157_sakai/*.fna.gz --extractor motif
featurestore verify "$OUT/ecoli.store" --crc
featurestore get "$STORE" chr2:46504 --feature-set motif --n-bins 251 --out "$OUT/FAM110C.tsv"
featurestore plot "$STORE" motif chr2:46504 --n-bins 251 --out "$OUT/FAM110C.png" \
    --title "FAM110C (chr2:46,505, -): 1.03 Mb of GRCh38; left of base 1 there is no sequence"
featurestore train "$STORE" $TABLES --model gta-best --n-bins 251 --epochs 3 --out "$RUN"
featurestore evaluate "$RUN" --store "$STORE" $TABLES --subset all
featurestore predict "$RUN" --store "$STORE" $TABLES --out "$OUT/predictions.parquet"
set +x
echo
echo "Few genes have sequence here: this shows that the way holds on real input, not how well GTA predicts."
