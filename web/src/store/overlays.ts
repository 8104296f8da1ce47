/** Which bins of a contig an overlay has. Belongs here: its table, checked. */
import * as zarr from "zarrita";
import { Problem } from "../page/problem.js";
import type { Overlay, OverlayContig } from "./describe.js";
import type { HttpObjects } from "./http.js";

/** What an overlay says of a contig, if all of it is built. */
export function overlayOn(overlay: Overlay, contig: string): OverlayContig {
  const found = overlay.contigs.find((one) => one.name === contig);
  if (found !== undefined && found.complete) return found;
  throw new Problem(
    `The overlay ${overlay.name} is not ${found ? "complete" : "built"} on ${contig}: \`featurestore build-overlay\` goes on ` +
      "with it, then seal the store anew.",
  );
}

/** Rows of each phase that the overlay has, ascending. */
export async function touchedRows(objects: HttpObjects, on: OverlayContig): Promise<number[][]> {
  const most = Math.max(0, ...on.rows);
  if (most === 0) return on.rows.map(() => []);
  const table = await zarr.open.v3(zarr.root(objects).resolve(`${on.path}/bin`), { kind: "array" });
  const isTable = [table.shape, table.chunks].every((shape) => shape.join() === [on.rows.length, most].join());
  if (!isTable || table.dtype !== "int64") throw damaged(on);
  const numbers = Array.from((await table.getChunk([0, 0])).data as BigInt64Array, Number);
  return on.rows.map((count, phase) => {
    const rows = numbers.slice(phase * most, phase * most + count);
    if (rows.some((row, at) => row < 0 || (at > 0 && row <= rows[at - 1]!))) throw damaged(on);
    return rows;
  });
}

const damaged = (on: OverlayContig) =>
  new Problem(`${on.path}/bin is not the table of bins that explorer.json speaks of. Try \`featurestore verify --crc\`.`);
