/** From what a person types to a place. */
import type { Description, Gene } from "../store/describe.js";
import { Problem } from "./problem.js";

export interface Place {
  contig: string;
  centre: number;
  label: string;
  /** Its id, if a gene was named. */
  gene?: string;
}

const OFFERED = 20;

export class Search {
  private readonly byName = new Map<string, Gene>();

  constructor(private readonly described: Description, private readonly genes: Gene[]) {
    for (const gene of genes) {
      for (const name of [gene.symbol, gene.id]) {
        if (!this.byName.has(name.toLowerCase())) this.byName.set(name.toLowerCase(), gene);
      }
    }
  }

  /** Genes whose symbol or id begins with a text, then contigs. */
  offers(text: string): string[] {
    const start = text.trim().toLowerCase();
    const found: string[] = [];
    for (const gene of this.genes) {
      if (found.length >= OFFERED) break;
      if (gene.symbol.toLowerCase().startsWith(start)) found.push(gene.symbol);
      else if (start && gene.id.toLowerCase().startsWith(start)) found.push(gene.id);
    }
    const contigs = this.contigs().filter((name) => name.toLowerCase().startsWith(start)).map((name) => `${name}:`);
    return [...new Set([...found, ...contigs])].slice(0, OFFERED);
  }

  place(text: string): Place {
    const wanted = text.trim();
    const gene = this.byName.get(wanted.toLowerCase());
    if (gene !== undefined) {
      return { contig: gene.contig, centre: gene.tss, label: `${gene.symbol} (${gene.id}, strand ${gene.strand})`, gene: gene.id };
    }
    const match = /^(.+):([\d,]+)$/.exec(wanted);
    if (match === null) {
      const known = this.genes.length > 0 ? `one of ${this.genes.length} genes` : "a gene (this store has no table of genes)";
      throw new Problem(`"${wanted}" is not ${known}, nor a position such as ${this.contigs()[0] ?? "chr1"}:1,000,000 (0-based bp).`);
    }
    const name = match[1]!;
    const contig = this.contigs().find((one) => [name, `chr${name}`].includes(one) || `chr${one}` === name);
    if (contig === undefined) throw new Problem(`This store has no contig "${name}"; it has ${this.contigs().slice(0, 8).join(", ")}.`);
    const centre = Number(match[2]!.replaceAll(",", ""));
    return { contig, centre, label: `${contig}:${centre.toLocaleString("en")}` };
  }

  private contigs(): string[] {
    return [...new Set(this.described.sets.flatMap((set) => set.contigs.map((one) => one.name)))];
  }
}
