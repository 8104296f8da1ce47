/** What a model says of a window. Belongs here: `/v1/predict` of `featurestore serve --model`, asked and checked. */
import { isList, isText, isWhole } from "../store/describe.js";
import { servedStore } from "../store/http.js";
import { Problem } from "../page/problem.js";
import type { Place } from "../page/search.js";
import type { View } from "../page/view.js";

const isNumbers = (value: unknown): value is number[] => isList(value, (item: unknown) => typeof item === "number");

/** What a model reads and has, as `/v1/model` says. */
export interface Model {
  /** `bins`, or `signals`: bases with measured signals, in a window of the length of training. */
  reads: string;
  explains: string[];
  hides: boolean;
}

/** Changes without one signal in one part of the window: parts from its left. */
interface BySignal {
  signals: string[];
  starts: number[];
  ends: number[];
  change: number[][];
  whole: number[];
}

export interface Prediction {
  model: string;
  set: string;
  contig: string;
  subset: string | null;
  bin_size: number;
  n_bins: number;
  first_start: number;
  unit: string;
  tasks: string[];
  prediction: number[];
  hidden: { bins: number[]; prediction: number[]; change: number[] } | null;
  attention: { prototypes: string[]; weights: number[][] } | null;
  occlusion: number[] | null;
  occlusion_by_signal: BySignal | null;
  /** Of other kinds, by name. */
  alternatives: Record<string, number>;
}

const UNKNOWN = "The server's prediction is not what this page knows; update the page or the server.";

/** A server's route for predictions; none where the page lies in a plain folder. */
export class Predictor {
  private constructor(private readonly store: string, readonly model: Model) {}

  static async find(page: URL): Promise<Predictor | undefined> {
    const served = servedStore(page);
    if (served === undefined || page.origin !== location.origin) return undefined;
    const response = await fetch("/v1/service-info");
    if (!response.ok) return undefined;
    const { routes } = (await response.json()) as { routes?: unknown };
    if (!Array.isArray(routes) || !routes.includes("predict")) return undefined;
    const described = await fetch("/v1/model");
    const model = (await described.json()) as Model;
    if (!described.ok || !isText(model.reads) || !isList(model.explains, isText)) throw new Problem(UNKNOWN);
    return new Predictor(decodeURIComponent(served), model);
  }

  async predict(place: Place, view: View): Promise<Prediction> {
    const query = new URLSearchParams({ store: this.store });
    if (this.model.reads === "bins") query.set("bins", String(view.bins));
    if (place.gene === undefined) query.set("at", `${place.contig}:${place.centre}`);
    else query.set("gene", place.gene);
    view.hide.forEach(([start, end]) => query.append("hide", `${Math.max(start, 0)}-${end}`));
    view.explain.filter((what) => this.model.explains.includes(what)).forEach((what) => query.append("explain", what));
    const response = await fetch(`/v1/predict?${query}`);
    const found = (await response.json()) as Prediction & { detail?: unknown };
    if (!response.ok) throw new Problem(isText(found.detail) ? found.detail : `The server answered ${response.status}.`);
    if (!isPrediction(found)) throw new Problem(UNKNOWN);
    return found;
  }
}

function isPrediction(found: Prediction): boolean {
  const { n_bins, hidden, attention, occlusion, occlusion_by_signal: bySignal } = found;
  return (
    [found.model, found.set, found.contig, found.unit].every(isText) && isWhole(n_bins) && isWhole(found.bin_size) &&
    Number.isSafeInteger(found.first_start) && isNumbers(found.prediction) && isList(found.tasks, isText) &&
    (hidden === null || (isNumbers(hidden.prediction) && isNumbers(hidden.change) && isList(hidden.bins, isWhole))) &&
    (occlusion === null || (isNumbers(occlusion) && occlusion.length === n_bins)) &&
    isNumbers(Object.values(found.alternatives)) && (bySignal === null || isBySignal(bySignal)) &&
    (attention === null ||
      (isList(attention.prototypes, isText) && attention.weights.length === n_bins &&
        isList(attention.weights, (row: unknown) => isNumbers(row) && row.length === attention.prototypes.length)))
  );
}

function isBySignal({ signals, starts, ends, change, whole }: BySignal): boolean {
  const isARow = (row: unknown) => isNumbers(row) && row.length === signals.length;
  return (
    isList(signals, isText) && isNumbers(starts) && isNumbers(ends) && starts.length > 0 && starts.length === ends.length &&
    isList(change, isARow) && change.length === starts.length && isARow(whole)
  );
}
