/** One feature set: its picture, its genes, and its files. */
import { chosen, PAGE_ROWS, summary } from "./channels.js";
import { draw, labelsOf, ROW } from "./draw.js";
import { png, STATES, tsv } from "./files.js";
import { geneTrack, inWords } from "./gene_track.js";
import { legend } from "./legend.js";
import { cropped, pictureOf, type Picture } from "./picture.js";
import { pythonOf } from "./python.js";
import { follow, type Span } from "./pointer.js";
import { ruler } from "./ruler.js";
import { button, download, element, table } from "../page/html.js";
import type { View } from "../page/view.js";
import type { GeneModel } from "../store/models.js";
import { BUILT, NEVER_BUILT, OUTSIDE, type Window } from "../store/windows.js";

/** What a panel asks of the page. */
export interface Page {
  tell(text: string): void;
  turn(page: number): void;
  /** To a gene. */
  go(where: string): void;
  /** The context longer or shorter. */
  zoom(factor: number): void;
  /** Bases `[start, end)` of the contig, or none. */
  select(bases: Span | undefined): void;
}

export class Panel {
  readonly node = element("section");
  private readonly canvas = element("canvas");
  private readonly track = element("div");
  private readonly files = element("span");
  private readonly picture: Picture;
  private readonly found: number[];
  private readonly shown: number[];
  private genes: GeneModel[] = [];
  private cursor: Span | undefined;

  constructor(
    readonly window: Window,
    private readonly other: Window | undefined,
    private readonly view: View,
    private readonly page: Page,
  ) {
    this.picture = pictureOf(window, other);
    this.found = chosen(this.picture, view.find, view.sort);
    const pages = Math.max(Math.ceil(this.found.length / PAGE_ROWS), 1);
    const turned = Math.min(view.page, pages - 1);
    this.shown = this.found.slice(turned * PAGE_ROWS, (turned + 1) * PAGE_ROWS);
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `${window.layer.key}: ${this.shown.length} channels, ${window.nBins} bins; values are in the table below`);
    follow(this.canvas, {
      nBins: window.nBins,
      nRows: this.shown.length,
      at: (x, y) => this.at(x, y),
      go: (bin, row) => this.go(bin, row),
      zoom: (factor) => this.page.zoom(factor),
      select: (bins) => this.page.select(bins && [window.start(bins[0]), window.start(bins[1])]),
    });
    this.node.append(element("h2", this.title()), Object.assign(element("p", this.facts()), { className: "facts" }));
    this.node.append(this.track, this.canvas, legend(this.picture.isDifference), this.files, ...this.turns(turned, pages));
  }

  get isFocused(): boolean {
    return document.activeElement === this.canvas;
  }

  focus(): void {
    this.canvas.focus({ preventScroll: true });
  }

  /** The genes of the window, which may come after the first picture. */
  show(genes: GeneModel[]): void {
    this.genes = genes;
    this.drawTrack();
  }

  /** Genes, and positions under them. */
  drawTrack(): void {
    const { window, canvas, genes } = this;
    const bases: Span = [window.start(0), window.start(window.nBins)];
    const tracks = genes.length > 0 ? [geneTrack(genes, bases, window.centre, canvas.clientWidth, (symbol) => this.page.go(symbol))] : [];
    this.track.replaceChildren(...tracks, ruler(window.contig.name, bases, window.contig.length, canvas.clientWidth));
  }

  redraw(): void {
    const { window, canvas, cursor, selected } = this;
    const hidden = this.view.hide.map((bases) => this.binsOf(bases)).filter((bins) => bins !== undefined);
    draw(canvas, this.picture, this.shown, { cursor, selected, hidden, touched: window.touched });
    const of = selected ? ` of ${selected[1] - selected[0]} selected bins` : "";
    this.files.replaceChildren(button(`TSV${of}`, () => this.takeNumbers()), button(`PNG${of}`, () => void this.takePicture()));
  }

  tables(): HTMLTableElement[] {
    const genes = this.genes.map((gene) => [gene.symbol, inWords(gene)]);
    return [this.table(), ...(genes.length > 0 ? [table(`Genes of ${this.facts()}`, ["gene", "where"], genes)] : [])];
  }

  /** Selected bins `[first, end)`: those of this grid that begin within the selected bases. */
  get selected(): Span | undefined {
    return this.view.select && this.binsOf(this.view.select);
  }

  private binsOf(bases: Span): Span | undefined {
    const { window } = this;
    const bin = (base: number) => Math.min(Math.max(Math.ceil((base - window.start(0)) / window.set.bin_size), 0), window.nBins);
    const [first, end] = [bin(bases[0]), bin(bases[1])];
    return end > first ? [first, end] : undefined;
  }

  /** The line of Python that gives what is seen. */
  python(url: string): string {
    const { window, other, picture } = this;
    const isAll = !this.view.find.trim() && (other === undefined || other.set === window.set);
    const side = (one: Window, numbers: number[]) =>
      pythonOf(url, one, this.selected, isAll ? undefined : this.found.map((channel) => numbers[channel]!));
    if (other === undefined) return side(window, picture.channels);
    return `${side(window, picture.channels)}.astype(float) - ${side(other, picture.others)}.astype(float)`;
  }

  private table(): HTMLTableElement {
    const rows = this.shown.map((channel) => {
      const { low, mean, high, centre } = summary(this.picture, channel);
      return [this.picture.names[channel]!, ...[low, Number(mean.toPrecision(6)), high, centre].map((value) => (Number.isNaN(value) ? "none" : String(value)))];
    });
    return table(`${this.title()}, ${this.facts()}`, ["channel", "lowest", "mean", "highest", "at the centre"], rows);
  }

  private title(): string {
    const { window, other } = this;
    if (other === undefined) return window.layer.key;
    return other.layer === window.layer ? `${window.layer.key}: difference` : `${window.layer.key} minus ${other.layer.key}`;
  }

  private facts(): string {
    const { set, nBins, contig, at, touched } = this.window;
    const span = `${contig.name}:${this.window.start(0).toLocaleString("en")}-${this.window.start(nBins).toLocaleString("en")}`;
    const isElsewhere = this.other !== undefined && (this.other.contig.name !== contig.name || this.other.centre !== this.window.centre);
    const from = isElsewhere ? ` minus ${this.other.contig.name}:${this.other.centre.toLocaleString("en")}` : "";
    const count = (wanted: number) => this.picture.states.filter((state) => state === wanted).length;
    const [never, outside] = [count(NEVER_BUILT), count(OUTSIDE)];
    const gaps = (never ? `, ${never} bins never built (hatched)` : "") + (outside ? `, ${outside} outside the contig (hatched)` : "");
    const own = this.window.layer.overlay ? `, ${touched.size} bins differ from the reference (marked)` : "";
    return (
      `${span}${from}, ${nBins} bins of ${set.bin_size.toLocaleString("en")} bp, residual ${at.residual} bp; ` +
      `${this.shown.length} of ${this.found.length} channels, each on its own scale${gaps}${own}`
    );
  }

  private turns(page: number, pages: number): HTMLElement[] {
    if (pages === 1) return [];
    return [
      button("Previous channels", () => this.page.turn(Math.max(page - 1, 0))),
      button("Next channels", () => this.page.turn(Math.min(page + 1, pages - 1))),
    ];
  }

  private get fileName(): string {
    return `${this.window.layer.key.replaceAll("/", "_")}_${this.window.contig.name}_${this.window.centre}`;
  }

  private takeNumbers(): void {
    const text = tsv(this.window, this.picture, this.found, this.selected ?? [0, this.window.nBins]);
    download(`${this.fileName}.tsv`, new Blob([text], { type: "text/tab-separated-values" }));
  }

  private async takePicture(): Promise<void> {
    const drawn = element("canvas");
    const all: Span = [0, this.window.nBins];
    draw(drawn, cropped(this.picture, this.selected ?? all), this.shown, {}, this.canvas.clientWidth);
    download(`${this.fileName}.png`, await png(drawn));
  }

  private at(x: number, y: number): Span | undefined {
    const labels = labelsOf(this.canvas.clientWidth);
    const bin = Math.floor(((x - labels) / (this.canvas.clientWidth - labels)) * this.picture.nBins);
    const row = Math.floor(y / ROW);
    const isInside = bin >= 0 && bin < this.picture.nBins && row >= 0 && row < this.shown.length;
    return isInside ? [bin, row] : undefined;
  }

  private go(bin: number, row: number): void {
    this.cursor = [bin, row];
    this.redraw();
    const channel = this.shown[row]!;
    const state = this.picture.states[bin]!;
    const value = this.picture.value(bin, channel);
    const said = state === BUILT ? String(value) : STATES[state] + (state === OUTSIDE ? `, where Python gives ${value}` : "");
    const { contig, layer, at, touched } = this.window;
    const own = touched.has(bin) ? ", not the reference's" : "";
    this.page.tell(
      `${layer.key} ${this.picture.names[channel]} at ${contig.name}:${this.window.start(bin)}-${this.window.start(bin + 1)}: ${said}${own} (residual ${at.residual} bp)`,
    );
  }
}
