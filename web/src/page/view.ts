/** What is looked at, and the link that restores it. */
export const SORTS = ["store", "name", "mean", "range", "centre"] as const;
export type Sort = (typeof SORTS)[number];

export const EXPLANATIONS = ["attention", "occlusion"] as const;
export type Explanation = (typeof EXPLANATIONS)[number];
type Span = [number, number];

export interface View {
  sets: string[];
  at: string;
  compare: string;
  /** The layer that is subtracted; none if empty. */
  minus: string;
  /** Selected bases `[start, end)`. */
  select: Span | undefined;
  /** Bases that are hidden from the model. */
  hide: Span[];
  explain: Explanation[];
  bins: number;
  find: string;
  sort: Sort;
  page: number;
}

const whole = (text: string | null, least: number, most: number, otherwise: number): number =>
  text !== null && /^\d+$/.test(text) ? Math.min(Math.max(Number(text), least), most) : otherwise;

function spanOf(text: string | null): Span | undefined {
  const found = /^(-?\d{1,12})_(-?\d{1,12})$/.exec(text ?? ""); // bins may begin left of a contig
  return found === null ? undefined : [Number(found[1]), Number(found[2])];
}

export function viewOf(query: URLSearchParams): View {
  const sort = query.get("sort") as Sort;
  return {
    sets: query.getAll("set"),
    at: query.get("at") ?? "",
    compare: query.get("compare") ?? "",
    minus: query.get("minus") ?? "",
    select: spanOf(query.get("select")),
    hide: query.getAll("hide").map(spanOf).filter((span) => span !== undefined),
    explain: EXPLANATIONS.filter((what) => query.getAll("explain").includes(what)),
    bins: whole(query.get("bins"), 1, 4001, 251),
    find: query.get("find") ?? "",
    sort: SORTS.includes(sort) ? sort : "store",
    page: whole(query.get("page"), 0, 1e6, 0),
  };
}

export function queryOf(view: View, store: string | null, topHash: string): URLSearchParams {
  const query = new URLSearchParams();
  if (store !== null) query.set("store", store);
  view.sets.forEach((set) => query.append("set", set));
  query.set("at", view.at);
  query.set("bins", String(view.bins));
  if (view.compare) query.set("compare", view.compare);
  if (view.minus) query.set("minus", view.minus);
  if (view.select) query.set("select", view.select.join("_"));
  view.hide.forEach((span) => query.append("hide", span.join("_")));
  view.explain.forEach((what) => query.append("explain", what));
  if (view.find) query.set("find", view.find);
  if (view.sort !== "store") query.set("sort", view.sort);
  if (view.page > 0) query.set("page", String(view.page));
  query.set("sealed", topHash.slice(0, 12));
  return query;
}
