/** What a store holds, in words: how much is built, and where it comes from. */
import type { Description, FeatureSet } from "../store/describe.js";
import { element, table } from "./html.js";
import { rowsOf } from "../store/grid.js";

export function built(described: Description): HTMLElement {
  const rows = described.sets.flatMap((set) =>
    set.contigs.flatMap((contig) =>
      set.offsets.map((offset, phase) => {
        const rows = rowsOf(set, contig, phase);
        const done = contig.built[phase]!.reduce((sum, [first, end]) => sum + end - first, 0);
        return [`${set.name} ${contig.name}`, String(offset), String(done), String(rows), `${((100 * done) / rows).toFixed(1)} %`];
      }),
    ),
  );
  return table("Bins that are built", ["set and contig", "phase's offset (bp)", "built", "of", "share"], rows);
}

export function provenance(described: Description): HTMLElement {
  const facts: [string, string][] = [
    ["Assembly", `${described.assembly.name}, ${described.assembly.digest}`],
    ["Sealed", `by genomic-featurestore ${described.version}; top hash ${described.top_hash}`],
    ...described.sets.map((set): [string, string] => [`Feature set ${set.name}`, inWords(set)]),
  ];
  return element("dl", ...facts.flatMap(([name, text]) => [element("dt", name), element("dd", text)]));
}

function inWords(set: FeatureSet): string {
  const licence = set.licence.trim() || "not stated: ask those who made it before you pass it on";
  const citation = set.citation.trim() ? ` Please cite: ${set.citation.trim()}` : "";
  return (
    `${set.channels.length} channels of ${set.dtype} in bins of ${set.bin_size} bp at offsets ${set.offsets.join(", ")} bp, ` +
    `computed by ${set.extractor} (fingerprint ${set.fingerprint}). Licence: ${licence}.${citation}`
  );
}
