/** Positions under a picture's genes: a tick every so many bases. */
import { labelsOf } from "./draw.js";
import { shape } from "./svg.js";

const HEIGHT = 18;
const TICK_PX = 110;

/** The least of 1, 2 and 5 times a power of ten that is no less. */
export function roundStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(least));
  return [1, 2, 5, 10].map((times) => times * power).find((step) => step >= least)!;
}

/** A position in the unit that fits the distance between ticks. */
function spelled(base: number, step: number): string {
  const [unit, size] = step >= 1e4 ? (["Mb", 1e6] as const) : step >= 10 ? (["kb", 1e3] as const) : (["bp", 1] as const);
  const digits = Math.max(0, Math.ceil(Math.log10(size / step)));
  return `${(base / size).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })} ${unit}`;
}

/**
 * @param length of the contig (bp): nothing outside it has a position
 * @param width of the picture, with its labels (px)
 */
export function ruler(contig: string, [start, end]: [number, number], length: number, width: number): SVGElement {
  const labels = labelsOf(width);
  const plot = width - labels;
  const step = Math.max(1, roundStep(((end - start) / plot) * TICK_PX));
  const drawn = shape("svg", { width, height: HEIGHT, class: "genes ruler", "aria-hidden": "true" });
  drawn.append(shape("text", { x: 2, y: 12 }, contig));
  for (let base = Math.ceil(Math.max(start, 0) / step) * step; base <= Math.min(end, length); base += step) {
    const x = labels + ((base - start) / (end - start)) * plot;
    const anchor = x > width - TICK_PX / 3 ? "end" : x < labels + TICK_PX / 3 ? "start" : "middle";
    drawn.append(
      shape("line", { x1: x, x2: x, y1: HEIGHT - 4, y2: HEIGHT }),
      shape("text", { x: anchor === "end" ? Math.min(x, width - 1) : x, y: 12, "text-anchor": anchor }, spelled(base, step)),
    );
  }
  return drawn;
}
