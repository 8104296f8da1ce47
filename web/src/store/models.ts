/** Where genes lie and what they are made of. Belongs here: `explorer_models/`, checked, one file a contig. */
import { isList, isText, isWhole, json, type Contig, type Gene } from "./describe.js";
import type { HttpObjects } from "./http.js";

export interface GeneModel {
  symbol: string;
  strand: string;
  /** Of the gene (0-based bp, half-open); its start site alone if exons are not known. */
  start: number;
  end: number;
  /** Start, end, start, end, ..., counted from the start of the gene. */
  exons: number[];
  coding: number[];
}

export class GeneModels {
  private readonly known = new Map<string, Promise<GeneModel[]>>();

  constructor(private readonly objects: HttpObjects, private readonly genes: Gene[]) {}

  /** Genes that overlap a stretch of a contig, by start. */
  async within(contig: Contig, start: number, end: number): Promise<GeneModel[]> {
    if (this.genes.length === 0) return [];
    const asked = this.known.get(contig.name) ?? this.read(contig);
    this.known.set(contig.name, asked);
    asked.catch(() => this.known.delete(contig.name));
    return (await asked).filter((gene) => gene.end > start && gene.start < end);
  }

  private async read(contig: Contig): Promise<GeneModel[]> {
    const folder = contig.path.split("/")[2]; // features/<set>/<contig>/values
    const rows = await json(this.objects, `explorer_models/${folder}.json`);
    if (Array.isArray(rows)) return rows.filter(isModel).map(([symbol, strand, start, end, exons, coding]) => ({ symbol, strand, start, end, exons, coding }));
    return this.genes
      .filter((gene) => gene.contig === contig.name)
      .map(({ symbol, strand, tss }) => ({ symbol, strand, start: tss, end: tss + 1, exons: [], coding: [] }));
  }
}

function isModel(row: unknown): row is [string, string, number, number, number[], number[]] {
  if (!Array.isArray(row)) return false;
  const [symbol, strand, start, end, exons, coding] = row;
  return isText(symbol) && isText(strand) && isWhole(start) && isWhole(end) && isList(exons, isWhole) && isList(coding, isWhole);
}

export const startSite = (gene: GeneModel): number => (gene.strand === "-" ? gene.end - 1 : gene.start);
