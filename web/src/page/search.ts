/** From what a person types to a place. */
import type { Description, Gene } from "../store/describe.js";
import { Problem } from "./problem.js";

export interface Place {
  contig: string;
  centre: number;
  label: string;
  /** Its id, if a gene was named. */
  gene?: string;
  /** How many bases were asked for (bp), if a region was. */
  span?: number;
}

/** `contig`, `contig:position`, `contig:start-end`; commas and blanks in numbers are left out. */
const POSITION = /^([^:]+?)(?:\s*:\s*(?:([\d, ]+?)(?:\s*(?:-|–|\.\.)\s*([\d, ]+))?)?)?$/;
const numberOf = (text: string): number => Number(text.replaceAll(/[, ]/g, ""));

const OFFERED = 20;

export class Search {
  private readonly byName = new Map<string, Gene>();

  constructor(private readonly described: Description, private readonly genes: Gene[]) {
    const know = (gene: Gene, names: string[]) => {
      for (const name of names) if (!this.byName.has(name.toLowerCase())) this.byName.set(name.toLowerCase(), gene);
    };
    for (const gene of genes) know(gene, [gene.symbol, gene.id]);
    for (const gene of genes) know(gene, gene.aliases); // a symbol comes before what another gene is also called
  }

  /** Names of genes that begin with a text, then contigs, then names that contain it. */
  offers(text: string): string[] {
    const part = text.trim().toLowerCase();
    const contigs = this.contigs().filter((name) => name.toLowerCase().startsWith(part)).map((name) => `${name}:`);
    const found = [...this.named((name) => name.startsWith(part)), ...contigs];
    if (part && found.length < OFFERED) found.push(...this.named((name) => name.includes(part)));
    return [...new Set(found)].slice(0, OFFERED);
  }

  /** Of the first genes with a fitting name, that name. */
  private named(fits: (name: string) => boolean): string[] {
    const found: string[] = [];
    for (const { symbol, id, aliases } of this.genes) {
      if (found.length >= OFFERED) break;
      const name = [symbol, id, ...aliases].find((one) => fits(one.toLowerCase()));
      if (name !== undefined) found.push(name);
    }
    return found;
  }

  place(text: string): Place {
    const wanted = text.trim();
    const gene = this.byName.get(wanted.toLowerCase());
    if (gene !== undefined) {
      return { contig: gene.contig, centre: gene.tss, label: `${gene.symbol} (${gene.id}, strand ${gene.strand})`, gene: gene.id };
    }
    const match = POSITION.exec(wanted);
    const name = match?.[1] ?? "";
    const contig = this.contigs().find((one) => [name, `chr${name}`].some((text) => text.toLowerCase() === one.toLowerCase()) || `chr${one}` === name);
    if (match === null || (contig === undefined && match[2] === undefined)) throw this.unknown(wanted);
    if (contig === undefined) throw new Problem(`This store has no contig "${name}"; it has ${this.contigs().slice(0, 8).join(", ")}.`);
    return this.within(contig, match[2] && numberOf(match[2]), match[3] && numberOf(match[3]));
  }

  /** A whole contig, a position of it, or a region. */
  private within(contig: string, start: number | "" | undefined, end: number | "" | undefined): Place {
    const spelled = (base: number) => base.toLocaleString("en");
    if (typeof start !== "number") {
      const centre = Math.floor(this.lengthOf(contig) / 2);
      return { contig, centre, label: `${contig}:${spelled(centre)}, its middle` };
    }
    if (typeof end !== "number") return { contig, centre: start, label: `${contig}:${spelled(start)}` };
    if (end <= start) throw new Problem(`${contig}:${spelled(start)}-${spelled(end)} ends before it begins; write the lower position first.`);
    return { contig, centre: Math.floor((start + end) / 2), label: `${contig}:${spelled(start)}-${spelled(end)}`, span: end - start };
  }

  private unknown(wanted: string): Problem {
    const known = this.genes.length > 0 ? `one of ${this.genes.length.toLocaleString("en")} genes` : "a gene (this store has no table of genes)";
    const near = wanted ? this.offers(wanted).slice(0, 5) : [];
    const meant = near.length > 0 ? ` Names with it: ${near.join(", ")}.` : "";
    const contig = this.contigs()[0] ?? "chr1";
    return new Problem(`"${wanted}" is not ${known}, nor a position such as ${contig}:1,000,000 or ${contig}:1,000,000-1,200,000 (0-based bp).${meant}`);
  }

  private lengthOf(contig: string): number {
    return Math.max(...this.described.sets.flatMap((set) => set.contigs.filter((one) => one.name === contig).map((one) => one.length)));
  }

  private contigs(): string[] {
    return [...new Set(this.described.sets.flatMap((set) => set.contigs.map((one) => one.name)))];
  }
}
