/** Genes above a picture: introns as a line, exons as boxes, coding sequence as higher ones, an arrow at the start site. */
import { startSite, type GeneModel } from "../store/models.js";
import { labelsOf } from "./draw.js";
import { shape } from "./svg.js";

const LANE = 26;
const MOST_LANES = 6;
const LETTER = 7; // px of a letter of 11 px

/** From bases to px, the width that there is, and the place that was asked for. */
interface Scale {
  centre: number;
  x(base: number): number;
  plot: number;
}

/** Where a gene's name begins and ends (px): right of its start, or left of it where the picture ends before the name does. */
function nameOf(gene: GeneModel, { x, plot }: Scale): [number, number] {
  const wide = LETTER * gene.symbol.length;
  const left = x(gene.start) + (gene.strand === "-" ? 1 : 13);
  return left + wide <= plot ? [left, left + wide] : [Math.max(x(gene.start) - 13 - wide, 0), x(gene.start) - 13];
}

/** The lane of each gene, so that neither they nor their names overlap; the one asked for, then coding and long ones come first. */
function lanes(genes: GeneModel[], scale: Scale): Map<GeneModel, number> {
  const taken: [number, number][][] = Array.from({ length: MOST_LANES }, () => []);
  const found = new Map<GeneModel, number>();
  const weight = (gene: GeneModel) => (startSite(gene) === scale.centre ? 1e15 : 0) + (gene.coding.length > 0 ? 1e12 : 0) + gene.end - gene.start;
  for (const gene of [...genes].sort((one, two) => weight(two) - weight(one))) {
    const [from, to] = nameOf(gene, scale);
    const [left, right] = [Math.min(scale.x(gene.start) - 12, from), Math.max(scale.x(gene.end), to) + 12];
    const lane = taken.findIndex((spans) => spans.every((span) => right <= span[0] || left >= span[1]));
    if (lane < 0) continue;
    taken[lane]!.push([left, right]);
    found.set(gene, lane);
  }
  return found;
}

function drawn(gene: GeneModel, lane: number, scale: Scale, [first, last]: [number, number]): SVGElement {
  const { x } = scale;
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
  const weight = startSite(gene) === scale.centre ? "bold" : "normal";
  group.append(shape("text", { x: nameOf(gene, scale)[0], y: 9, "font-weight": weight }, gene.symbol));
  return group;
}

export function inWords(gene: GeneModel): string {
  const span = gene.end - gene.start > 1 ? `${gene.start.toLocaleString("en")}-${gene.end.toLocaleString("en")}, ${gene.exons.length / 2} exons` : "";
  return `${gene.symbol}, strand ${gene.strand}, starts at ${startSite(gene).toLocaleString("en")}${span && `; ${span}`}`;
}

/**
 * @param centre the place that was asked for
 * @param width of the picture below, with its labels (px)
 * @param go what a click on a gene does
 */
export function geneTrack(
  genes: GeneModel[],
  [start, end]: [number, number],
  centre: number,
  width: number,
  go: (symbol: string) => void,
): SVGElement {
  const labels = labelsOf(width);
  const plot = width - labels;
  const x = (base: number) => ((Math.min(Math.max(base, start), end) - start) / (end - start)) * plot;
  const scale = { x, plot, centre };
  const placed = lanes(genes, scale);
  const height = LANE * (Math.max(0, ...placed.values()) + 1);
  const track = shape("svg", { width, height, role: "img", class: "genes", "aria-label": `${genes.length} genes; they are listed in the table below` });
  const left = genes.length - placed.size;
  track.append(shape("text", { x: 2, y: 19 }, left > 0 ? `genes (${left} more)` : "genes"));
  const inner = shape("svg", { x: labels, width: plot, height });
  for (const [gene, lane] of placed) {
    const group = drawn(gene, lane, scale, [start, end]);
    group.addEventListener("click", () => go(gene.symbol)); // by the keyboard: type its name
    inner.append(group);
  }
  track.append(inner);
  return track;
}
