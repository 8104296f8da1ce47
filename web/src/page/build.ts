/** How far a build is: what each contig and phase has, bins a second, time left, failed shards. */
import { element, table } from "./html.js";
import { isList, isText, json } from "../store/describe.js";
import type { HttpObjects } from "../store/http.js";
import { Problem } from "./problem.js";

interface Phase {
  feature_set: string;
  contig: string;
  offset: number;
  shards: number;
  committed: number;
  failed: number;
  bins: number;
}
interface Work {
  feature_set: string;
  run: string;
  worker: string;
  device: string;
  bins: number;
  began: string;
  ended: string;
}
interface Failure {
  feature_set: string;
  contig: string;
  phase: number;
  shard: number;
  attempts: number;
  reason: string;
  when: string;
}
/** As `featurestore status --json` prints it. */
export interface Status {
  complete: boolean;
  contigs: Phase[];
  work: Work[];
  failures: Failure[];
  /** When it was read, if that is known. */
  when?: string;
}

const MOST_FAILURES = 100;
const has = (row: unknown, texts: string[], numbers: string[]): boolean => {
  const fields = (row ?? {}) as Record<string, unknown>;
  return texts.every((name) => isText(fields[name])) && numbers.every((name) => Number.isFinite(fields[name]));
};

/** The status of the build beside a store; none if nobody wrote one. */
export async function readStatus(objects: HttpObjects): Promise<Status | undefined> {
  const found = (await json(objects, "explorer_status.json")) as Status | undefined;
  if (found === undefined) return undefined;
  const isWhole =
    isList(found?.contigs, (row: unknown) => has(row, ["feature_set", "contig"], ["offset", "shards", "committed", "failed", "bins"])) &&
    isList(found.work, (row: unknown) => has(row, ["feature_set", "run", "worker", "device", "began", "ended"], ["bins"])) &&
    isList(found.failures, (row: unknown) => has(row, ["feature_set", "contig", "reason", "when"], ["phase", "shard", "attempts"]));
  if (!isWhole) throw new Problem("explorer_status.json is damaged: `featurestore explorer --watch` writes it anew.");
  return found;
}

export interface Pace {
  /** Of the latest run, all its workers together. */
  binsPerSecond: number;
  /** NaN if unknown. */
  secondsLeft: number;
}

/** Speed of the latest run of a set, and how long the shards that are missing take at it. */
export function paceOf(status: Status, name: string): Pace {
  const work = status.work.filter((one) => one.feature_set === name);
  const run = work.at(-1)?.run; // latest last
  const latest = work.filter((one) => one.run === run);
  const seconds = (Math.max(...latest.map((one) => Date.parse(one.ended))) - Math.min(...latest.map((one) => Date.parse(one.began)))) / 1000;
  const sum = (rows: { [key in Key]: number }[], key: Key) => rows.reduce((total, row) => total + row[key], 0);
  type Key = "bins" | "shards" | "committed";
  const phases = status.contigs.filter((one) => one.feature_set === name);
  const binsPerSecond = seconds > 0 ? latest.reduce((total, one) => total + one.bins, 0) / seconds : NaN;
  const [bins, shards, committed] = [sum(phases, "bins"), sum(phases, "shards"), sum(phases, "committed")];
  const missing = committed === shards ? 0 : (bins / committed) * (shards - committed);
  return { binsPerSecond, secondsLeft: missing / binsPerSecond };
}

function lasting(seconds: number): string {
  if (!Number.isFinite(seconds)) return "not known yet";
  const minutes = Math.ceil(seconds / 60);
  if (minutes < 2) return `${Math.ceil(seconds)} s`;
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function buildOf(status: Status): HTMLElement[] {
  const names = [...new Set(status.contigs.map((row) => row.feature_set))];
  const when = status.when ? `, as of ${status.when.slice(0, 19).replace("T", " ")} UTC` : "";
  const said = status.complete ? `The build is complete${when}.` : `The build is not complete${when}.`;
  return [element("p", said), ...names.map((name) => ofSet(status, name)), ...failed(status.failures)];
}

function ofSet(status: Status, name: string): HTMLElement {
  const phases = status.contigs.filter((row) => row.feature_set === name);
  const { binsPerSecond, secondsLeft } = paceOf(status, name);
  const speed = Number.isFinite(binsPerSecond) ? `${Math.round(binsPerSecond).toLocaleString("en")} bins/s in the latest run` : "speed not known yet";
  const left = phases.every((row) => row.committed === row.shards) ? "nothing left" : `time left ${lasting(secondsLeft)}`;
  const offsets = [...new Set(phases.map((row) => row.offset))].sort((one, two) => one - two);
  const contigs = [...new Set(phases.map((row) => row.contig))];
  const found = table(`${name}: ${speed}, ${left}`, ["contig", ...offsets.map((offset) => `phase at ${offset} bp`)], []);
  found.querySelector("tbody")!.append(
    ...contigs.map((contig) => {
      const cells = offsets.map((offset) => {
        const row = phases.find((one) => one.contig === contig && one.offset === offset);
        return element("td", ...(row ? share(row) : ["none"]));
      });
      return element("tr", Object.assign(element("th", contig), { scope: "row" }), ...cells);
    }),
  );
  return found;
}

function share(row: Phase): (Node | string)[] {
  const bar = Object.assign(element("progress"), { max: Math.max(row.shards, 1), value: row.shards ? row.committed : 1 });
  bar.setAttribute("aria-label", `${row.feature_set} ${row.contig} at ${row.offset} bp`);
  return [bar, ` ${row.committed} of ${row.shards} shards${row.failed ? `, ${row.failed} failed` : ""}`];
}

function failed(failures: Failure[]): HTMLElement[] {
  if (failures.length === 0) return [];
  const rows = failures.slice(0, MOST_FAILURES).map((one) => [
    `${one.feature_set} ${one.contig} phase ${one.phase} shard ${one.shard}`,
    String(one.attempts),
    one.when.slice(0, 19).replace("T", " "),
    one.reason,
  ]);
  const more = failures.length > MOST_FAILURES ? `, the first ${MOST_FAILURES}` : "";
  return [table(`${failures.length} failed shards${more}`, ["shard", "tries", "last (UTC)", "why"], rows)];
}
