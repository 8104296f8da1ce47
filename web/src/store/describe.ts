/** `explorer.json` and the genes, checked: they come from whoever made the store. */
import type { HttpObjects } from "./http.js";
import { Problem } from "../page/problem.js";

export interface Contig {
  name: string;
  length: number;
  path: string;
  /** Rows `[first, end)` that are built, one list a phase. */
  built: [number, number][][];
}
export interface FeatureSet {
  name: string;
  extractor: string;
  fingerprint: string;
  licence: string;
  citation: string;
  bin_size: number;
  offsets: number[];
  dtype: "float16" | "float32" | "uint8";
  channels: string[];
  pad: number[];
  contigs: Contig[];
  overlays: Overlay[];
}
/** Bins of one haplotype that differ from the set's. */
export interface Overlay {
  name: string;
  contigs: OverlayContig[];
}
export interface OverlayContig {
  name: string;
  path: string;
  /** How many bins of each phase differ. */
  rows: number[];
  complete: boolean;
}
export interface Description {
  version: string;
  top_hash: string;
  complete: boolean;
  assembly: { name: string; digest: string };
  sets: FeatureSet[];
  /** Sealed before overlays were listed: there may be some that this document does not name. */
  isWithoutOverlays: boolean;
}
export interface Gene {
  symbol: string;
  id: string;
  contig: string;
  tss: number;
  strand: string;
  /** What else it is called. */
  aliases: string[];
}

const NAME = "explorer.json";

type Fields = Record<string, unknown>;

export const isText = (value: unknown): value is string => typeof value === "string";
export const isWhole = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
export const isList = (value: unknown, test: (item: never) => boolean): boolean =>
  Array.isArray(value) && value.every(test as (item: unknown) => boolean);
const isRun = (run: unknown): boolean => isList(run, isWhole) && (run as number[]).length === 2;

const isPath = (value: unknown): boolean => isText(value) && !value.includes("..");

function isContig(value: Fields, phases: number): boolean {
  const runs = value.built;
  return (
    isText(value.name) && isWhole(value.length) && isPath(value.path) &&
    isList(runs, (of: unknown) => isList(of, isRun)) && (runs as unknown[]).length === phases
  );
}

function isOverlay(value: Fields, phases: number): boolean {
  const isOn = (on: Fields) =>
    isText(on.name) && isPath(on.path) && isList(on.rows, isWhole) && (on.rows as unknown[]).length === phases &&
    typeof on.complete === "boolean";
  return isText(value.name) && isList(value.contigs, isOn);
}

function isSet(value: Fields): boolean {
  const { offsets, channels, pad, bin_size } = value;
  return (
    [value.name, value.extractor, value.fingerprint, value.licence, value.citation].every(isText) &&
    isWhole(bin_size) && bin_size > 0 && isList(offsets, isWhole) && (offsets as unknown[]).length > 0 &&
    ["float16", "float32", "uint8"].includes(value.dtype as string) && isList(channels, isText) &&
    isList(pad, (item: unknown) => typeof item === "number") &&
    (pad as unknown[]).length === (channels as unknown[]).length &&
    isList(value.contigs, (one: Fields) => isContig(one, (offsets as unknown[]).length)) &&
    isList(value.overlays ??= [], (one: Fields) => isOverlay(one, (offsets as unknown[]).length)) // none before 0.1
  );
}

/** A document of a store; undefined if it is not there. */
export async function json(objects: HttpObjects, name: string): Promise<unknown> {
  const data = await (name === NAME ? objects.get(`/${name}`) : objects.getIfThere(`/${name}`));
  if (data === undefined) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(data));
  } catch (cause) {
    throw new Problem(`${objects.url.href}${name} is damaged: it is no JSON.`, { cause });
  }
}

export const isDescribed = async (objects: HttpObjects): Promise<boolean> => (await objects.get(`/${NAME}`)) !== undefined;

/** What the store says of itself; undefined if it is not sealed. */
export async function describe(objects: HttpObjects): Promise<Description | undefined> {
  const found = (await json(objects, NAME)) as (Description & { explorer: number }) | undefined;
  if (found === undefined) return undefined;
  if (found.explorer !== 1) {
    throw new Problem("explorer.json is of another version than this page; run `featurestore explorer STORE` anew.");
  }
  found.isWithoutOverlays = Array.isArray(found.sets) && found.sets.some((set) => set?.overlays === undefined);
  const whole = isText(found.version) && isText(found.top_hash) && isText(found.assembly?.name) &&
    isList(found.sets, isSet) && found.sets.length > 0;
  if (!whole) throw new Problem("explorer.json is damaged: fields are missing; `featurestore seal` writes it anew.");
  return found;
}

/** The genes beside the store; none if there is no table. */
export async function genes(objects: HttpObjects): Promise<Gene[]> {
  const rows = await json(objects, "explorer_genes.json");
  if (!Array.isArray(rows)) return [];
  return rows
    .filter((row) => isText(row?.[0]) && isText(row[1]) && isText(row[2]) && isWhole(row[3]) && isText(row[4]))
    .map(([symbol, id, contig, tss, strand, also]) => ({ symbol, id, contig, tss, strand, aliases: Array.isArray(also) ? also.filter(isText) : [] }));
}
