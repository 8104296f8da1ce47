/** One feature set: its picture, pointer and keys, and its files. */
import { chosen, PAGE_ROWS, summary } from "./channels.js";
import { draw, LABELS, ROW, type Picture } from "./draw.js";
import { download, element, table } from "../page/html.js";
import type { View } from "../page/view.js";
import type { GeneModel } from "../store/models.js";
import { geneTrack, inWords } from "./gene_track.js";
import { BUILT, NEVER_BUILT, OUTSIDE, type Window } from "../store/windows.js";

const STATES: Record<number, string> = { [OUTSIDE]: "outside the contig", [NEVER_BUILT]: "never built" };

export class Panel {
  readonly node = element("section");
  private readonly canvas = element("canvas");
  private readonly track = element("div");
  private genes: GeneModel[] = [];
  private readonly picture: Picture;
  private readonly found: number[];
  private readonly shown: number[];
  private cursor: [number, number] | undefined;

  constructor(
    readonly window: Window,
    private readonly other: Window | undefined,
    view: View,
    private readonly tell: (text: string) => void,
    turn: (page: number) => void,
  ) {
    this.picture = pictureOf(window, other);
    this.found = chosen(this.picture, window.set.channels, view.find, view.sort);
    const pages = Math.max(Math.ceil(this.found.length / PAGE_ROWS), 1);
    const page = Math.min(view.page, pages - 1);
    this.shown = this.found.slice(page * PAGE_ROWS, (page + 1) * PAGE_ROWS);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${window.set.name}: ${this.shown.length} channels, ${window.nBins} bins; values are in the table below`);
    this.canvas.addEventListener("pointermove", (event) => this.point(event.offsetX, event.offsetY));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    this.node.append(element("h2", this.title()), Object.assign(element("p", this.facts()), { className: "facts" }), this.track, this.canvas);
    this.node.append(...this.buttons(page, pages, turn));
  }

  /** The genes of the window, which come after the first picture. */
  show(genes: GeneModel[]): void {
    this.genes = genes;
    this.redraw();
  }

  redraw(): void {
    const { window } = this;
    const tracks = this.genes.length > 0 ? [geneTrack(this.genes, window.start(0), window.start(window.nBins), this.canvas.clientWidth)] : [];
    this.track.replaceChildren(...tracks);
    draw(this.canvas, this.picture, this.window.set.channels, this.shown, this.cursor);
  }

  tables(): HTMLTableElement[] {
    const genes = this.genes.map((gene) => [gene.symbol, inWords(gene)]);
    return [this.table(), ...(genes.length > 0 ? [table(`Genes of ${this.facts()}`, ["gene", "where"], genes)] : [])];
  }

  private table(): HTMLTableElement {
    const rows = this.shown.map((channel) => {
      const { low, mean, high, centre } = summary(this.picture, channel);
      return [this.window.set.channels[channel]!, ...[low, mean, high, centre].map((value) => (Number.isNaN(value) ? "none" : String(value)))];
    });
    return table(`${this.title()}, ${this.facts()}`, ["channel", "lowest", "mean", "highest", "at the centre"], rows);
  }

  private title(): string {
    return this.other === undefined ? this.window.set.name : `${this.window.set.name}: difference`;
  }

  private facts(): string {
    const { set, nBins, contig, at } = this.window;
    const span = `${contig.name}:${this.window.start(0).toLocaleString("en")}-${this.window.start(nBins).toLocaleString("en")}`;
    const from = this.other === undefined ? "" : ` minus ${this.other.contig.name}:${this.other.centre.toLocaleString("en")}`;
    const states = this.picture.states;
    const never = states.filter((state) => state === NEVER_BUILT).length;
    const outside = states.filter((state) => state === OUTSIDE).length;
    const gaps = (never ? `, ${never} bins never built (hatched)` : "") + (outside ? `, ${outside} outside the contig (hatched)` : "");
    return (
      `${span}${from}, ${nBins} bins of ${set.bin_size.toLocaleString("en")} bp, residual ${at.residual} bp; ` +
      `${this.shown.length} of ${this.found.length} channels, each on its own scale${gaps}`
    );
  }

  private buttons(page: number, pages: number, turn: (page: number) => void): HTMLElement[] {
    const make = (text: string, act: () => void) => {
      const button = Object.assign(element("button", text), { type: "button" });
      button.addEventListener("click", act);
      return button;
    };
    const name = `${this.window.set.name}_${this.window.contig.name}_${this.window.centre}`;
    const made = [
      make("TSV", () => download(`${name}.tsv`, new Blob([this.tsv()], { type: "text/tab-separated-values" }))),
      make("PNG", () => this.canvas.toBlob((blob) => blob && download(`${name}.png`, blob))),
    ];
    if (pages > 1) {
      made.push(make("Previous channels", () => turn(Math.max(page - 1, 0))), make("Next channels", () => turn(Math.min(page + 1, pages - 1))));
    }
    return made;
  }

  /** The bins and the channels that were chosen, all of them, as exact as they are stored. */
  private tsv(): string {
    const clean = (text: string) => text.replaceAll(/[\t\r\n]/g, " ");
    const { set, contig, nBins } = this.window;
    const head = ["contig", "start", "end", "state", ...this.found.map((channel) => clean(set.channels[channel]!))];
    const lines = Array.from({ length: nBins }, (_, bin) => {
      const state = STATES[this.picture.states[bin]!] ?? "built";
      const values = this.found.map((channel) => String(this.picture.value(bin, channel)));
      return [clean(contig.name), this.window.start(bin), this.window.start(bin + 1), state, ...values].join("\t");
    });
    return [head.join("\t"), ...lines, ""].join("\n");
  }

  private point(x: number, y: number): void {
    const bin = Math.floor(((x - LABELS) / (this.canvas.clientWidth - LABELS)) * this.picture.nBins);
    const row = Math.floor(y / ROW);
    if (bin >= 0 && bin < this.picture.nBins && row >= 0 && row < this.shown.length) this.go(bin, row);
  }

  private key(event: KeyboardEvent): void {
    const steps: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[event.key];
    if (step === undefined || this.shown.length === 0) return;
    event.preventDefault();
    const [bin, row] = this.cursor ?? [Math.floor(this.picture.nBins / 2) - step[0], -step[1]];
    const inside = (at: number, end: number) => Math.min(Math.max(at, 0), end - 1);
    this.go(inside(bin + step[0], this.picture.nBins), inside(row + step[1], this.shown.length));
  }

  private go(bin: number, row: number): void {
    this.cursor = [bin, row];
    this.redraw();
    const channel = this.shown[row]!;
    const state = this.picture.states[bin]!;
    const value = this.picture.value(bin, channel);
    const said = state === BUILT ? String(value) : STATES[state] + (state === OUTSIDE ? `, where Python gives ${value}` : "");
    const { contig, set, at } = this.window;
    this.tell(`${set.name} ${set.channels[channel]} at ${contig.name}:${this.window.start(bin)}-${this.window.start(bin + 1)}: ${said} (residual ${at.residual} bp)`);
  }
}

function pictureOf(window: Window, other: Window | undefined): Picture {
  const centre = window.nBins / 2;
  if (other === undefined) {
    return { nBins: window.nBins, states: window.states, centre, isDifference: false, value: (bin, channel) => window.value(bin, channel) };
  }
  return {
    nBins: window.nBins,
    states: window.states.map((state, bin) => Math.max(state, other.states[bin]!)),
    centre,
    isDifference: true,
    value: (bin, channel) => window.value(bin, channel) - other.value(bin, channel),
  };
}
