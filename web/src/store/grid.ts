/** Where a window lies: the rule of `catalog.grid.Grid.place`, and of `featurestore.rows.window_plan`. */
import type { Contig, FeatureSet } from "./describe.js";

export interface Placement {
  phase: number;
  firstBin: number;
  /** Centre of the window as read minus the centre that was asked for (bp, signed). */
  residual: number;
}

export function place(set: FeatureSet, centre: number, nBins: number): Placement {
  const size = set.bin_size;
  const half = Math.floor(nBins / 2) * size + (nBins % 2 ? Math.floor(size / 2) : 0);
  let best: Placement | undefined;
  set.offsets.forEach((offset, phase) => {
    const behind = centre - half + offset;
    const firstBin = Math.floor((behind + Math.floor((size - 1) / 2)) / size);
    const residual = firstBin * size - behind;
    if (best === undefined || Math.abs(residual) < Math.abs(best.residual)) best = { phase, firstBin, residual };
  });
  return best!;
}

export const rowsOf = (set: FeatureSet, contig: Contig, phase: number): number =>
  Math.ceil((contig.length + set.offsets[phase]!) / set.bin_size);

export const startOf = (set: FeatureSet, at: Placement, bin: number): number =>
  (at.firstBin + bin) * set.bin_size - set.offsets[at.phase]!;

export function isBuilt(contig: Contig, phase: number, row: number): boolean {
  return contig.built[phase]!.some(([first, end]) => row >= first && row < end);
}
