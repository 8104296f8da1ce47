/** The model's part of the page: its prediction, which bins it rests on, and what changes without some. */
import { chosen } from "../picture/channels.js";
import { draw, labelsOf, ROW } from "../picture/draw.js";
import { legend } from "../picture/legend.js";
import type { Picture } from "../picture/picture.js";
import { ruler } from "../picture/ruler.js";
import { byId, element, table } from "../page/html.js";
import { inWords } from "../page/problem.js";
import type { Place } from "../page/search.js";
import { EXPLANATIONS, type View } from "../page/view.js";
import { BUILT } from "../store/windows.js";
import type { Prediction, Predictor } from "./predict.js";

const MOST_PROTOTYPES = 40;

/** What the section asks of the page. */
export interface Host {
  view: View;
  change(changes: Partial<View>): void;
}

export class ModelSection {
  private isBusy = false;
  private next: Place | undefined;
  private last: Prediction | undefined;
  private readonly pictures = new Map<HTMLCanvasElement, { picture: Picture; track: HTMLElement }>();

  constructor(private readonly predictor: Predictor, private readonly host: Host) {
    byId("model").hidden = false;
    const { reads, explains, hides } = predictor.model;
    byId("hide").hidden = !hides;
    for (const what of EXPLANATIONS) {
      const box = byId<HTMLInputElement>(what);
      box.parentElement!.hidden = !explains.includes(what);
      if (reads === "signals" && what === "occlusion") box.nextSibling!.textContent = " occlusion by signal and part of the window";
      box.checked = host.view.explain.includes(what);
      box.addEventListener("change", () => host.change({ explain: EXPLANATIONS.filter((one) => byId<HTMLInputElement>(one).checked) }));
    }
    byId("hide").addEventListener("click", () => {
      const { select, hide } = host.view;
      if (select !== undefined) host.change({ hide: [...hide, select] });
      else byId("prediction").textContent = "Select bins first: drag in a picture, or hold Shift with the arrow keys.";
    });
    byId("unhide").addEventListener("click", () => host.change({ hide: [] }));
  }

  /** Predict for a place; while one prediction is made, only the latest place waits. */
  async show(place: Place): Promise<void> {
    this.next = place;
    if (this.isBusy) return;
    this.isBusy = true;
    for (let one = this.take(); one !== undefined; one = this.take()) await this.predict(one);
    this.isBusy = false;
  }

  redraw(): void {
    const { last } = this;
    if (last === undefined) return;
    const bases: [number, number] = [last.first_start, last.first_start + last.n_bins * last.bin_size];
    for (const [canvas, { picture, track }] of this.pictures) {
      draw(canvas, picture, all(picture), {});
      track.replaceChildren(ruler(last.contig, bases, Infinity, canvas.clientWidth));
    }
  }

  private take(): Place | undefined {
    const place = this.next;
    this.next = undefined;
    return place;
  }

  private async predict(place: Place): Promise<void> {
    byId("unhide").hidden = this.host.view.hide.length === 0;
    byId("model").classList.add("busy");
    try {
      this.last = await this.predictor.predict(place, this.host.view);
      byId("prediction").textContent = said(this.last);
      this.picture(this.last);
    } catch (error) {
      byId("prediction").textContent = inWords(error);
      this.picture(undefined);
    }
    byId("model").classList.remove("busy");
    byId("model").dataset["turn"] = String(Number(byId("model").dataset["turn"] ?? 0) + 1);
  }

  private picture(found: Prediction | undefined): void {
    this.pictures.clear();
    const parts = found === undefined ? [] : [...occlusionOf(found), ...bySignalOf(found), ...attentionOf(found)];
    byId("explained").replaceChildren(...parts.flatMap((part) => this.panel(part, found!)));
    this.redraw();
  }

  private panel({ heading, words, colours, picture, frame }: Part, whole: Prediction): HTMLElement[] {
    const found = frame ?? whole;
    const [canvas, track] = [element("canvas"), element("div")];
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${heading}; numbers are in the table below`);
    canvas.addEventListener("pointermove", ({ offsetX, offsetY }) => {
      const labels = labelsOf(canvas.clientWidth);
      const bin = Math.floor(((offsetX - labels) / (canvas.clientWidth - labels)) * picture.nBins);
      const row = Math.floor(offsetY / ROW);
      if (bin < 0 || bin >= picture.nBins || row >= picture.names.length) return;
      byId("readout").textContent = `${picture.names[row]} at ${whereOf(found, bin)}: ${picture.value(bin, row)}`;
    });
    this.pictures.set(canvas, { picture, track });
    const facts = Object.assign(element("p", words), { className: "facts" });
    return [element("h3", heading), facts, track, canvas, legend(picture.isDifference, colours), strongest(heading, picture, found)];
  }
}

/** One explanation of a prediction. */
interface Part {
  heading: string;
  /** What it says, or how to read it. */
  words: string;
  /** What the lowest and the highest colour mean. */
  colours: [string, string];
  picture: Picture;
  /** The prediction with the parts of the picture in the place of its bins, where these are others. */
  frame?: Prediction;
}

const all = (picture: Picture): number[] => picture.names.map((_, index) => index);

function said(found: Prediction): string {
  const each = (numbers: number[], sign = false) =>
    numbers.map((value, index) => `${found.tasks[index] ? `${found.tasks[index]} ` : ""}${sign && value > 0 ? "+" : ""}${value.toFixed(3)}`).join(", ");
  const subset = found.subset ? ` It is a gene of the ${found.subset === "train" ? "training" : found.subset} set.` : "";
  const unit = found.bin_size === 1 ? "bases" : "bins";
  const others = Object.entries(found.alternatives).map(([name, value]) => ` (${name}: ${value.toFixed(3)})`).join("");
  const hidden = found.hidden
    ? ` Without ${found.hidden.bins.length.toLocaleString("en")} hidden ${unit} it is ${each(found.hidden.prediction)} (${each(found.hidden.change, true)}).`
    : "";
  return `${found.model} predicts ${each(found.prediction)}${others} ${found.unit} from ${found.n_bins.toLocaleString("en")} ${unit} of ${found.set.split(",").join(", ")}.${hidden}${subset}`;
}

function occlusionOf(found: Prediction): Part[] {
  const { occlusion } = found;
  if (occlusion === null) return [];
  const picture = pictureOf(found, ["prediction without the bin"], (bin) => occlusion[bin]!, true);
  const most = ranked(picture).slice(0, 3).map(([bin, , value]) => `${whereOf(found, bin)} (${value > 0 ? "+" : ""}${value.toFixed(3)})`);
  return [{
    heading: "Change of the prediction without each bin",
    words: `It changes most without ${most.join(", ")}.`,
    colours: ["the prediction is lower", "higher without the bin"],
    picture,
  }];
}

/** Of a run of measured signals: a row a signal, a column a part of the window. */
function bySignalOf(found: Prediction): Part[] {
  const { occlusion_by_signal: by } = found;
  if (by === null) return [];
  const n_bins = by.starts.length;
  const frame = { ...found, n_bins, first_start: by.starts[0]!, bin_size: (by.ends[n_bins - 1]! - by.starts[0]!) / n_bins };
  const picture = pictureOf(frame, by.signals, (bin, row) => by.change[bin]![row]!, true);
  picture.most = Math.abs(ranked(picture)[0]![2]);
  const signed = (value: number) => `${value > 0 ? "+" : ""}${value.toFixed(3)}`;
  const most = ranked(picture).slice(0, 3).map(([bin, row, value]) => `${by.signals[row]} at ${whereOf(frame, bin)} (${signed(value)})`);
  const whole = by.signals.map((name, row) => `${name} ${signed(by.whole[row]!)}`);
  return [{
    heading: "Change of the prediction without each signal, by part of the window",
    words: `It changes most without ${most.join(", ")}. Without a signal in the whole window: ${whole.join(", ")}. All signals are on one scale.`,
    colours: ["the prediction is lower", "higher without the signal there"],
    picture,
    frame,
  }];
}

/** The prototypes that some bin attends to most. */
function attentionOf(found: Prediction): Part[] {
  const { attention } = found;
  if (attention === null) return [];
  const whole = pictureOf(found, attention.prototypes, (bin, row) => attention.weights[bin]![row]!, false);
  const rows = chosen(whole, "", "range").slice(0, MOST_PROTOTYPES);
  const of = rows.length < attention.prototypes.length ? `, ${rows.length} of ${attention.prototypes.length}, widest range first` : "";
  const names = rows.map((row) => attention.prototypes[row]!);
  return [{
    heading: `Attention of each bin to the prototypes${of}`,
    words: "Prototypes are learnt mixtures of the language model's words: of its whole vocabulary, or of the words in the channels' names.",
    colours: ["lowest", "highest attention to each prototype in this window"],
    picture: pictureOf(found, names, (bin, row) => attention.weights[bin]![rows[row]!]!, false),
  }];
}

function pictureOf(found: Prediction, names: string[], value: Picture["value"], isDifference: boolean): Picture {
  const states = new Uint8Array(found.n_bins).fill(BUILT);
  const channels = names.map((_, index) => index);
  return { names, channels, others: channels, nBins: found.n_bins, states, centre: found.n_bins / 2, isDifference, value };
}

/** Bin, row and value, the strongest first. */
function ranked(picture: Picture): (readonly [number, number, number])[] {
  const values = Array.from({ length: picture.nBins }, (_, bin) => all(picture).map((row) => [bin, row, picture.value(bin, row)] as const)).flat();
  return values.sort((one, two) => Math.abs(two[2]) - Math.abs(one[2]));
}

function whereOf(found: Prediction, bin: number): string {
  const edge = (number: number) => Math.round(found.first_start + number * found.bin_size).toLocaleString("en");
  return `${found.contig}:${edge(bin)}-${edge(bin + 1)}`;
}

/** For screen readers, and to read numbers off: the bins with the strongest values. */
function strongest(heading: string, picture: Picture, found: Prediction): HTMLElement {
  const rows = ranked(picture).slice(0, 10).map(([bin, row, value]) => [whereOf(found, bin), picture.names[row]!, String(value)]);
  return element("details", element("summary", found.occlusion_by_signal === null ? "The ten strongest bins" : "The ten strongest parts"), table(heading, ["bin", "of", "value"], rows));
}
