/** Which channels are drawn, in which order; and the table of them. */
import type { Picture } from "./picture.js";
import type { Sort } from "../page/view.js";
import { BUILT } from "../store/windows.js";

export const PAGE_ROWS = 40;

export interface Summary {
  low: number;
  mean: number;
  high: number;
  centre: number;
}

export function summary(picture: Picture, channel: number): Summary {
  let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
  for (let bin = 0; bin < picture.nBins; bin++) {
    if (picture.states[bin] !== BUILT) continue;
    const value = picture.value(bin, channel);
    low = Math.min(low, value);
    high = Math.max(high, value);
    sum += value;
    count += 1;
  }
  const centre = picture.value(Math.floor(picture.nBins / 2), channel);
  return count > 0 ? { low, mean: sum / count, high, centre } : { low: NaN, mean: NaN, high: NaN, centre };
}

const KEYS: Record<Exclude<Sort, "store" | "name">, (one: Summary) => number> = {
  mean: (one) => one.mean,
  range: (one) => one.high - one.low,
  centre: (one) => one.centre,
};

/** Numbers of all channels that contain a text, sorted. */
export function chosen(picture: Picture, find: string, sort: Sort): number[] {
  const { names } = picture;
  const wanted = find.trim().toLowerCase();
  const found = names.flatMap((name, index) => (name.toLowerCase().includes(wanted) ? [index] : []));
  if (sort === "name") return found.sort((one, two) => (names[one]! < names[two]! ? -1 : 1));
  if (sort === "store") return found;
  const keys = new Map(found.map((channel) => [channel, KEYS[sort](summary(picture, channel))]));
  const key = (channel: number): number => {
    const value = keys.get(channel)!;
    return Number.isNaN(value) ? -Number.MAX_VALUE : value;
  };
  return found.sort((one, two) => key(two) - key(one));
}
