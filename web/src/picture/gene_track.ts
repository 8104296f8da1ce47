/** Genes above a picture: introns as a line, exons as boxes, coding sequence as higher ones, an arrow at the start site. */
import { startSite, type GeneModel } from "../store/models.js";
import { LABELS } from "./draw.js";

const LANE = 26;
const MOST_LANES = 6;
const LETTER = 7; // px of a letter of 11 px
const SVG = "http://www.w3.org/2000/svg";

type Shapes = Record<string, string | number>;

function shape(name: string, attributes: Shapes, text = ""): SVGElement {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  made.textContent = text;
  return made;
}

/** The lane of each gene, so that neither they nor their names overlap; coding and long ones come first. */
function lanes(genes: GeneModel[], x: (base: number) => number): Map<GeneModel, number> {
  const taken: [number, number][][] = Array.from({ length: MOST_LANES }, () => []);
  const found = new Map<GeneModel, number>();
  const weight = (gene: GeneModel) => (gene.coding.length > 0 ? 1e12 : 0) + gene.end - gene.start;
  for (const gene of [...genes].sort((one, two) => weight(two) - weight(one))) {
    const [left, right] = [x(gene.start) - 12, Math.max(x(gene.end), x(gene.start) + LETTER * (gene.symbol.length + 2)) + 12];
    const lane = taken.findIndex((spans) => spans.every(([from, to]) => right <= from || left >= to));
    if (lane < 0) continue;
    taken[lane]!.push([left, right]);
    found.set(gene, lane);
  }
  return found;
}

function drawn(gene: GeneModel, lane: number, x: (base: number) => number, [first, last]: [number, number]): SVGElement {
  const group = shape("g", { transform: `translate(0 ${lane * LANE})` });
  group.append(shape("title", {}, inWords(gene)));
  const boxes = (parts: number[], height: number) => {
    for (let at = 0; at + 1 < parts.length; at += 2) {
      const [from, to] = [gene.start + parts[at]!, gene.start + parts[at + 1]!];
      if (to <= first || from >= last) continue;
      group.append(shape("rect", { x: x(from), y: 19 - height / 2, width: Math.max(x(to) - x(from), 1), height }));
    }
  };
  group.append(shape("line", { x1: x(gene.start), x2: x(gene.end), y1: 19, y2: 19 }));
  boxes(gene.exons, 5);
  boxes(gene.coding, 11);
  const ahead = gene.strand === "-" ? -1 : 1;
  const site = x(startSite(gene) + 0.5);
  const isSeen = startSite(gene) >= first && startSite(gene) < last;
  if (isSeen && gene.strand !== ".") group.append(shape("path", { d: `M${site} 19V9h${9 * ahead}m${-4 * ahead} -3l${4 * ahead} 3l${-4 * ahead} 3` }));
  group.append(shape("text", { x: x(gene.start) + (isSeen && ahead > 0 ? 13 : 1), y: 9 }, gene.symbol));
  return group;
}

export function inWords(gene: GeneModel): string {
  const span = gene.end - gene.start > 1 ? `${gene.start.toLocaleString("en")}-${gene.end.toLocaleString("en")}, ${gene.exons.length / 2} exons` : "";
  return `${gene.symbol}, strand ${gene.strand}, starts at ${startSite(gene).toLocaleString("en")}${span && `; ${span}`}`;
}

/** @param width of the picture below, with its labels (px) */
export function geneTrack(genes: GeneModel[], start: number, end: number, width: number): SVGElement {
  const plot = width - LABELS;
  const x = (base: number) => ((Math.min(Math.max(base, start), end) - start) / (end - start)) * plot;
  const placed = lanes(genes, x);
  const height = LANE * (Math.max(0, ...placed.values()) + 1);
  const track = shape("svg", { width, height, role: "img", class: "genes", "aria-label": `${genes.length} genes; they are listed in the table below` });
  const left = genes.length - placed.size;
  track.append(shape("text", { x: 2, y: 19 }, left > 0 ? `genes (${left} more not drawn)` : "genes"));
  const inner = shape("svg", { x: LABELS, width: plot, height });
  inner.append(...[...placed].map(([gene, lane]) => drawn(gene, lane, x, [start, end])));
  track.append(inner);
  return track;
}
