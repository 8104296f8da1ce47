/** What can be looked at: each feature set, and each through an overlay, a personal genome's bins over the reference's. */
import { Problem } from "../page/problem.js";
import type { Description, FeatureSet, Overlay } from "./describe.js";

export interface Layer {
  /** In links: `<set>`, or `<set>+<sample>/<haplotype>`. */
  key: string;
  set: FeatureSet;
  overlay: Overlay | undefined;
}

export const layersOf = (described: Description): Layer[] =>
  described.sets.flatMap((set) => [
    { key: set.name, set, overlay: undefined },
    ...set.overlays.map((overlay) => ({ key: `${set.name}+${overlay.name}`, set, overlay })),
  ]);

export function layerOf(layers: Layer[], key: string): Layer {
  const found = layers.find((layer) => layer.key === key);
  if (found !== undefined) return found;
  const there = layers.map((layer) => layer.key).join(", ");
  throw new Problem(`This link names the feature set "${key}", which the store does not have; it has ${there}.`);
}
