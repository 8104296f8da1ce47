/** The page: from its address to pictures. */
import { registerCodecs } from "../store/codecs.js";
import { describe, genes, isDescribed, type Description, type Gene } from "../store/describe.js";
import { buildOf, readStatus } from "./build.js";
import { byId, element } from "./html.js";
import { HttpObjects } from "../store/http.js";
import { Predictor } from "../model/predict.js";
import { ModelSection } from "../model/section.js";
import { GeneModels } from "../store/models.js";
import { layerOf, layersOf, type Layer } from "../store/layers.js";
import { Panel } from "../picture/panel.js";
import { inWords, Problem } from "./problem.js";
import { Search, type Place } from "./search.js";
import { queryOf, SORTS, viewOf, type View } from "./view.js";
import { Reader } from "../store/windows.js";
import { built, provenance } from "./words.js";

const query = new URLSearchParams(location.search);
const named = query.get("store");
const at = byId<HTMLInputElement>("at");
const compare = byId<HTMLInputElement>("compare");
const minus = byId<HTMLSelectElement>("minus");
const bins = byId<HTMLInputElement>("bins");
const find = byId<HTMLInputElement>("find");
const sort = byId<HTMLSelectElement>("sort");

const REFRESH_MS = 5000;
const [LEAST_BINS, MOST_BINS, STEP_BINS] = [51, 1001, 10]; // of the slider

function storeUrl(): URL {
  const url = new URL(named ?? ".", location.href);
  if (!["http:", "https:"].includes(url.protocol)) {
    throw new Problem(
      `The explorer reads stores over HTTP, not ${url.protocol}: open the page through a web server that answers ranges, ` +
        "or name a store by ?store=https://...",
    );
  }
  url.search = url.hash = "";
  if (!url.pathname.endsWith("/")) url.pathname += "/";
  return url;
}

function complain(error: unknown): void {
  const problem = byId("problem");
  problem.textContent = error === undefined ? "" : inWords(error);
  problem.hidden = error === undefined;
}

function note(text: string): void {
  byId("note").textContent = text;
  byId("note").hidden = text === "";
}

/** Browsers give pages the clipboard over https and on this machine only. */
async function copy(what: string, text: string): Promise<void> {
  const isCopied = await (navigator.clipboard?.writeText(text) ?? Promise.reject()).then(() => true, () => false);
  byId("readout").textContent = isCopied ? `${what} is copied.` : `This browser does not let the page copy; here it is: ${text}`;
}

class Explorer {
  private panels: Panel[] = [];
  private latest = 0;
  private model: ModelSection | undefined;
  private readonly layers: Layer[];

  constructor(
    private readonly objects: HttpObjects,
    private readonly described: Description,
    private readonly search: Search,
    private readonly reader: Reader,
    private readonly models: GeneModels,
    private readonly view: View,
  ) {
    this.layers = layersOf(described);
  }

  start(): void {
    const { view, described } = this;
    this.listSets();
    at.value = view.at;
    compare.value = view.compare;
    minus.append(...this.layers.map(({ key }) => Object.assign(element("option", key), { value: key })));
    minus.value = view.minus;
    minus.addEventListener("change", () => void this.change({ minus: minus.value }));
    bins.value = String(view.bins);
    find.value = view.find;
    sort.value = view.sort;
    byId("form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.go(at.value);
    });
    byId("left").addEventListener("click", () => this.move(-0.5));
    byId("right").addEventListener("click", () => this.move(0.5));
    bins.addEventListener("input", () => void this.change({ bins: Number(bins.value) }));
    find.addEventListener("input", () => void this.change({ find: find.value, page: 0 }));
    sort.addEventListener("change", () => void this.change({ sort: SORTS[sort.selectedIndex]!, page: 0 }));
    for (const input of [at, compare]) {
      input.addEventListener("input", () => this.offer(input.value));
      input.addEventListener("focus", () => this.offer(input.value));
    }
    byId("copy_python").addEventListener("click", () => void copy("The Python", `import featurestore\n${byId("python").textContent}`));
    window.addEventListener("resize", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    byId("copy").addEventListener("click", () => void copy("The link", location.href));
    byId("built").append(built(described));
    byId("build").addEventListener("toggle", () => void this.showBuild(), { once: true });
    byId("words").append(provenance(described));
  }

  async change(changes: Partial<View>): Promise<void> {
    Object.assign(this.view, changes);
    const turn = ++this.latest;
    try {
      const panels = await this.read();
      if (turn !== this.latest) return; // the slider has moved on meanwhile
      complain(undefined);
      this.show(panels);
      void this.model?.show(this.search.place(this.view.at));
      await this.showGenes(panels);
      if (turn !== this.latest) return;
    } catch (error) {
      if (turn !== this.latest) return;
      this.show([]);
      complain(error);
    }
    byId("table").replaceChildren(...this.panels.flatMap((panel) => panel.tables()));
    byId("cost").textContent = `${this.objects.requests} requests, ${this.objects.bytes.toLocaleString("en")} bytes since the page was opened`;
    document.body.dataset["turn"] = String(turn);
  }

  /** Only a server has one; a plain folder shows the same page without. */
  async findModel(): Promise<void> {
    try {
      const predictor = await Predictor.find(this.objects.url);
      if (predictor === undefined) return;
      this.model = new ModelSection(predictor, { view: this.view, change: (changes) => void this.change(changes) });
      await this.model.show(this.search.place(this.view.at));
    } catch (error) {
      complain(error);
    }
  }

  /** To a gene or a position; to a region with as many bins as cover it. */
  private go(where: string): void {
    at.value = where;
    void this.change({ at: where, compare: compare.value, select: undefined, hide: [], ...this.coverage(where) });
  }

  private coverage(where: string): Partial<View> {
    try {
      const { span } = this.search.place(where);
      if (span === undefined) return {};
      const covering = 2 * Math.floor(span / layerOf(this.layers, this.view.sets[0] ?? "").set.bin_size / 2) + 1;
      if (covering > MOST_BINS) byId("readout").textContent = `The region has more than ${MOST_BINS.toLocaleString("en")} bins; its middle is shown.`;
      bins.value = String(Math.min(covering, MOST_BINS));
      return { bins: Math.min(covering, MOST_BINS) };
    } catch {
      return {}; // `change` says what is wrong
    }
  }

  /** Left or right by a part of the window. */
  private move(part: number): void {
    const [panel] = this.panels;
    if (panel === undefined) return;
    const { contig, centre, nBins, set } = panel.window;
    this.go(`${contig.name}:${Math.min(Math.max(centre + Math.round(part * nBins * set.bin_size), 0), contig.length - 1)}`);
  }

  /** The context longer or shorter by a factor, in steps of the slider. */
  private zoom(factor: number): void {
    const steps = Math.round((this.view.bins * factor - LEAST_BINS) / STEP_BINS);
    const wanted = Math.min(Math.max(LEAST_BINS + STEP_BINS * steps, LEAST_BINS), MOST_BINS);
    if (wanted === this.view.bins) return;
    bins.value = String(wanted);
    void this.change({ bins: wanted });
  }

  private async read(): Promise<Panel[]> {
    const { view } = this;
    byId("bins_out").textContent = `${view.bins.toLocaleString("en")} bins`;
    this.address();
    const place = this.search.place(view.at);
    const other = view.compare.trim() ? this.search.place(view.compare) : undefined;
    const layers = view.sets.map((key) => layerOf(this.layers, key));
    const less = view.minus ? layerOf(this.layers, view.minus) : undefined;
    if (layers.length === 0) throw new Problem("No feature set is chosen; tick one.");
    byId("bins_out").textContent += `, ${(view.bins * layers[0]!.set.bin_size).toLocaleString("en")} bp`;
    const page = {
      tell: (text: string) => void (byId("readout").textContent = text),
      turn: (page: number) => void this.change({ page }),
      go: (where: string) => this.go(where),
      zoom: (factor: number) => this.zoom(factor),
      select: (bases: [number, number] | undefined) => this.select(bases),
    };
    const panels = await Promise.all(
      layers.map(async (layer) => {
        const isLess = other !== undefined || (less !== undefined && less !== layer);
        const windows = [this.window(layer, place), ...(isLess ? [this.window(less ?? layer, other ?? place)] : [])];
        const [one, two] = await Promise.all(windows);
        return new Panel(one!, two, view, page);
      }),
    );
    byId("title").textContent = other ? `${place.label} minus ${other.label}` : place.label;
    return panels;
  }

  private window(layer: Layer, place: Place) {
    const contig = layer.set.contigs.find((one) => one.name === place.contig);
    if (contig === undefined) throw new Problem(`${layer.set.name} was not built on ${place.contig}.`);
    if (place.centre >= contig.length) {
      throw new Problem(`${place.label} lies outside ${contig.name}, which has ${contig.length.toLocaleString("en")} bp.`);
    }
    return this.reader.window(layer, contig, place.centre, this.view.bins);
  }

  private redraw(): void {
    this.panels.forEach((panel) => {
      panel.redraw();
      panel.drawTrack();
    });
    this.model?.redraw();
  }

  private select(bases: [number, number] | undefined): void {
    this.view.select = bases;
    this.address();
    this.panels.forEach((panel) => panel.redraw());
    this.python();
  }

  private address(): void {
    history.replaceState(null, "", `?${queryOf(this.view, named, this.described.top_hash)}`);
  }

  private python(): void {
    const url = this.objects.url.href.replace(/\/$/, "");
    byId("python").textContent = this.panels.map((panel) => panel.python(url)).join("\n");
  }

  private show(panels: Panel[]): void {
    const focused = this.panels.findIndex((panel) => panel.isFocused);
    this.panels = panels;
    byId("panels").replaceChildren(...panels.map((panel) => panel.node));
    panels[focused]?.focus(); // keys go on where they were
    this.python();
    panels.forEach((panel) => panel.redraw());
  }

  /** After the picture, since those of a contig may weigh more than the window. */
  private async showGenes(panels: Panel[]): Promise<void> {
    const genesOf = ({ window }: Panel) => this.models.within(window.contig, window.start(0), window.start(window.nBins));
    const none = (error: unknown) => (complain(error), []); // the picture itself is sound
    await Promise.all(panels.map(async (panel) => panel.show(await genesOf(panel).catch(none))));
  }

  /** Speed and failures of the build, if somebody has them on record beside the store. */
  private async showBuild(): Promise<void> {
    try {
      const status = await readStatus(this.objects);
      if (status !== undefined) byId("built").append(...buildOf(status));
    } catch (error) {
      complain(error);
    }
  }

  private offer(text: string): void {
    byId("found").replaceChildren(...this.search.offers(text).map((value) => Object.assign(element("option"), { value })));
  }

  private listSets(): void {
    const boxes = this.layers.map(({ key }) => {
      const box = Object.assign(element("input"), { type: "checkbox", value: key, checked: this.view.sets.includes(key) });
      box.addEventListener("change", () => {
        const sets = boxes.flatMap((label) => [...label.querySelectorAll("input")]).filter((one) => one.checked);
        void this.change({ sets: sets.map((one) => one.value), page: 0 });
      });
      return Object.assign(element("label", box, key), { className: "inline" });
    });
    byId("sets").append(...boxes);
  }
}

/** A store that is not sealed yet: how far its build is, read again and again; the explorer as soon as it is sealed. */
async function watch(objects: HttpObjects): Promise<boolean> {
  const status = await readStatus(objects);
  if (status === undefined) return false;
  byId("title").textContent = "Build of a feature store";
  byId("about").textContent = objects.url.href;
  for (const id of ["form", "readout", "line", "seen", "provenance"]) byId(id).hidden = true;
  byId<HTMLDetailsElement>("build").open = true;
  byId("built").replaceChildren(...buildOf(status));
  if (status.complete) note("The build is complete; `featurestore seal STORE` makes it a store that can be looked at.");
  setTimeout(() => void again(objects).catch(complain), REFRESH_MS);
  return true;
}

async function again(objects: HttpObjects): Promise<void> {
  if (await isDescribed(objects)) location.reload();
  else await watch(objects);
}

/** The first gene whose window lies inside its contig; else the first. */
function firstGene(genes: Gene[], { sets }: Description, nBins: number): string | undefined {
  const reach = (nBins / 2) * sets[0]!.bin_size;
  const lengths = new Map(sets[0]!.contigs.map(({ name, length }) => [name, length]));
  return (genes.find(({ contig, tss }) => tss >= reach && tss + reach <= (lengths.get(contig) ?? 0)) ?? genes[0])?.symbol;
}

async function open(): Promise<void> {
  registerCodecs();
  const objects = new HttpObjects(storeUrl());
  const [described, table] = await Promise.all([describe(objects), genes(objects)]);
  if (described === undefined) {
    if (await watch(objects)) return;
    throw new Problem(
      `${objects.url.href} has no explorer.json: it is no feature store, or it is still being built. ` +
        "`featurestore seal STORE` writes it (with --partial while shards are missing), and " +
        "`featurestore explorer STORE --watch 10` shows how far a build is.",
    );
  }
  const view = viewOf(query);
  if (view.sets.length === 0) view.sets = [described.sets[0]!.name];
  const contig = described.sets[0]!.contigs[0];
  if (!view.at) view.at = firstGene(table, described, view.bins) ?? (contig ? `${contig.name}:${Math.floor(contig.length / 2)}` : "");
  byId("about").textContent = `${described.assembly.name}, feature sets ${described.sets.map((set) => set.name).join(", ")}; ${objects.url.href}`;
  const sealed = query.get("sealed");
  const notes = [
    sealed !== null && !described.top_hash.startsWith(sealed) && "The store has changed since this link was made: values may differ.",
    !described.complete && "This store is not complete: bins that were never built are hatched.",
    described.isWithoutOverlays && `This store was sealed by an earlier version (${described.version}), which did not list overlays: if it has any, they are not shown here. \`featurestore seal STORE\` lists them.`,
  ];
  note(notes.filter(Boolean).join(" "));
  const explorer = new Explorer(objects, described, new Search(described, table), new Reader(objects), new GeneModels(objects, table), view);
  explorer.start();
  await explorer.change({});
  await explorer.findModel();
}

open().catch(complain);
