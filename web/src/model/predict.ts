/** What a model says of a window. Belongs here: `/v1/predict` of `featurestore serve --model`, asked and checked. */
import { isList, isText, isWhole } from "../store/describe.js";
import { servedStore } from "../store/http.js";
import { Problem } from "../page/problem.js";
import type { Place } from "../page/search.js";
import type { View } from "../page/view.js";

const isNumbers = (value: unknown): value is number[] => isList(value, (item: unknown) => typeof item === "number");

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
}

/** A server's route for predictions; none where the page lies in a plain folder. */
export class Predictor {
  private constructor(private readonly store: string) {}

  static async find(page: URL): Promise<Predictor | undefined> {
    const served = servedStore(page);
    if (served === undefined || page.origin !== location.origin) return undefined;
    const response = await fetch("/v1/service-info");
    if (!response.ok) return undefined;
    const { routes } = (await response.json()) as { routes?: unknown };
    return Array.isArray(routes) && routes.includes("predict") ? new Predictor(decodeURIComponent(served)) : undefined;
  }

  async predict(place: Place, view: View): Promise<Prediction> {
    const query = new URLSearchParams({ store: this.store, bins: String(view.bins) });
    if (place.gene === undefined) query.set("at", `${place.contig}:${place.centre}`);
    else query.set("gene", place.gene);
    view.hide.forEach(([start, end]) => query.append("hide", `${Math.max(start, 0)}-${end}`));
    view.explain.forEach((what) => query.append("explain", what));
    const response = await fetch(`/v1/predict?${query}`);
    const found = (await response.json()) as Prediction & { detail?: unknown };
    if (!response.ok) throw new Problem(isText(found.detail) ? found.detail : `The server answered ${response.status}.`);
    if (!isPrediction(found)) throw new Problem("The server's prediction is not what this page knows; update the page or the server.");
    return found;
  }
}

function isPrediction(found: Prediction): boolean {
  const { n_bins, hidden, attention, occlusion } = found;
  return (
    [found.model, found.set, found.contig, found.unit].every(isText) && isWhole(n_bins) && isWhole(found.bin_size) &&
    Number.isSafeInteger(found.first_start) && isNumbers(found.prediction) && isList(found.tasks, isText) &&
    (hidden === null || (isNumbers(hidden.prediction) && isNumbers(hidden.change) && isList(hidden.bins, isWhole))) &&
    (occlusion === null || (isNumbers(occlusion) && occlusion.length === n_bins)) &&
    (attention === null ||
      (isList(attention.prototypes, isText) && attention.weights.length === n_bins &&
        isList(attention.weights, (row: unknown) => isNumbers(row) && row.length === attention.prototypes.length)))
  );
}
