/** The line of Python that gives the values of a window. */
import type { Window } from "../store/windows.js";

const text = JSON.stringify;

/**
 * @param bins `[first, end)` of the window; all if undefined
 * @param channels their numbers in the set; all if undefined
 */
export function pythonOf(url: string, window: Window, bins: [number, number] | undefined, channels: number[] | undefined): string {
  const { set, overlay } = window.layer;
  const through = overlay ? `.with_overlay(${text(overlay.name)})` : "";
  const values =
    `featurestore.open(${text(url)})[${text(set.name)}]${through}` +
    `.window(${text(window.contig.name)}, ${window.centre}, n_bins=${window.nBins}).values`;
  const rows = bins ? `${bins[0]}:${bins[1]}` : ":";
  if (channels !== undefined) return `${values}[${rows}, [${channels.join(", ")}]]`;
  return bins ? `${values}[${rows}]` : values;
}
