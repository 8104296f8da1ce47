/** Windows of a feature set. Belongs here: which chunks they need, and keeping chunks that came. */
import * as zarr from "zarrita";
import type { Contig, FeatureSet } from "./describe.js";
import { isBuilt, place, rowsOf, startOf, type Placement } from "./grid.js";
import type { HttpObjects } from "./http.js";
import type { Layer } from "./layers.js";
import { overlayOn, touchedRows } from "./overlays.js";
import { Problem } from "../page/problem.js";

export const BUILT = 0;
export const OUTSIDE = 1;
export const NEVER_BUILT = 2;
const KEPT_BYTES = 1 << 28;
const FILL: Record<string, (value: number) => boolean> = { uint8: (value) => value === 255 };

type Chunk = ArrayLike<number> & { BYTES_PER_ELEMENT: number };
type Row = readonly [Chunk, number] | undefined;
type ZarrArray = zarr.Array<"float32", HttpObjects>; // or float16, or uint8: all give numbers

export class Window {
  constructor(
    readonly layer: Layer,
    readonly contig: Contig,
    readonly centre: number,
    readonly at: Placement,
    /** BUILT, OUTSIDE the contig, or NEVER_BUILT, by bin. */
    readonly states: Uint8Array,
    private readonly rows: Row[],
    /** Bins that the overlay has. */
    readonly touched: ReadonlySet<number>,
  ) {}

  get set(): FeatureSet {
    return this.layer.set;
  }

  get nBins(): number {
    return this.states.length;
  }

  start(bin: number): number {
    return startOf(this.set, this.at, bin);
  }

  /** NaN where nothing was built; the extractor's output on all N outside the contig, as Python gives it. */
  value(bin: number, channel: number): number {
    const row = this.rows[bin];
    if (row !== undefined) return row[0][row[1] + channel]!;
    return this.states[bin] === OUTSIDE ? this.set.pad[channel]! : NaN;
  }
}

export class Reader {
  private readonly arrays = new Map<string, Promise<ZarrArray>>();
  private readonly tables = new Map<string, Promise<Map<number, number>[]>>();
  private readonly chunks = new Map<string, Promise<Chunk>>();
  private held = 0;

  constructor(private readonly objects: HttpObjects) {}

  async window(layer: Layer, contig: Contig, centre: number, nBins: number): Promise<Window> {
    const { set } = layer;
    const at = place(set, centre, nBins);
    const end = rowsOf(set, contig, at.phase);
    const states = Uint8Array.from({ length: nBins }, (_, bin) => {
      const row = at.firstBin + bin;
      if (row < 0 || row >= end) return OUTSIDE;
      return isBuilt(contig, at.phase, row) ? BUILT : NEVER_BUILT;
    });
    const wanted = Array.from(states, (state, bin) => (state === BUILT ? at.firstBin + bin : undefined));
    const [rows, patch] = await Promise.all([this.rows(set, contig.path, at.phase, wanted), this.patch(layer, contig, at.phase, wanted)]);
    const touched = new Set(patch.flatMap((row, bin) => (row ? [bin] : [])));
    return new Window(layer, contig, centre, at, states, rows.map((row, bin) => patch[bin] ?? row), touched);
  }

  /** Rows of an overlay, for the bins that it has. */
  private async patch({ set, overlay }: Layer, contig: Contig, phase: number, wanted: (number | undefined)[]): Promise<Row[]> {
    if (overlay === undefined) return [];
    const on = overlayOn(overlay, contig.name);
    const at = await remembered(this.tables, on.path, async () => {
      const phases = await touchedRows(this.objects, on);
      return phases.map((rows) => new Map(rows.map((row, index) => [row, index])));
    });
    const inside = wanted.map((row) => (row === undefined ? undefined : at[phase]!.get(row)));
    return this.rows(set, `${on.path}/values`, phase, inside);
  }

  /** Rows by number; one request a chunk that was not read before. */
  private async rows(set: FeatureSet, path: string, phase: number, wanted: (number | undefined)[]): Promise<Row[]> {
    if (wanted.every((row) => row === undefined)) return wanted.map(() => undefined);
    const array = await this.array(set, path);
    const depth = array.chunks[1]!;
    const indexes = new Set(wanted.flatMap((row) => (row === undefined ? [] : [Math.floor(row / depth)])));
    const chunks = new Map(await Promise.all([...indexes].map(async (index) => [index, await this.chunk(array, phase, index)] as const)));
    const rows = wanted.map((row): Row =>
      row === undefined ? undefined : [chunks.get(Math.floor(row / depth))!, (row % depth) * set.channels.length],
    );
    refuseGaps(set, rows);
    return rows;
  }

  private array(set: FeatureSet, path: string): Promise<ZarrArray> {
    return remembered(this.arrays, path, async () => {
      const found = await zarr.open.v3(zarr.root(this.objects).resolve(path), { kind: "array" });
      const fits = found.dtype === set.dtype && found.shape[0] === set.offsets.length &&
        found.shape[2] === set.channels.length && found.chunks[2] === set.channels.length;
      if (!fits) throw new Problem(`${path}/zarr.json says something else than explorer.json; seal the store anew.`);
      return found as unknown as ZarrArray;
    });
  }

  private chunk(array: ZarrArray, phase: number, index: number): Promise<Chunk> {
    const key = `${array.path}/${phase}/${index}`;
    const was = this.chunks.get(key);
    if (was !== undefined) {
      this.chunks.delete(key); // to the end: the oldest goes first
      this.chunks.set(key, was);
      return was;
    }
    return remembered(this.chunks, key, async () => {
      const { data } = await array.getChunk([phase, index, 0]);
      this.held += data.byteLength;
      for (const [old, kept] of this.chunks) {
        if (this.held <= KEPT_BYTES || old === key) break;
        this.chunks.delete(old);
        this.held -= await kept.then((one) => one.length * one.BYTES_PER_ELEMENT, () => 0);
      }
      return data;
    });
  }
}

/** NaN (255 in bytes) is never a value, so in a row that is on record as built it is damage. */
function refuseGaps(set: FeatureSet, rows: Row[]): void {
  const isFill = FILL[set.dtype] ?? Number.isNaN;
  if (rows.some((row) => row !== undefined && isFill(row[0][row[1]]!))) {
    throw new Problem("A bin that is on record as built holds no value; the store is damaged. Try `featurestore verify --crc`.");
  }
}

function remembered<T>(map: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  const was = map.get(key);
  if (was !== undefined) return was;
  const made = make();
  map.set(key, made);
  made.catch(() => map.delete(key)); // tried again when it is asked for again
  return made;
}
