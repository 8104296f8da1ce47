/** The page: from its address to pictures. */
import { registerCodecs } from "../store/codecs.js";
import { describe, genes, isDescribed, type Description } from "../store/describe.js";
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
async function copyLink(): Promise<void> {
  const isCopied = await (navigator.clipboard?.writeText(location.href) ?? Promise.reject()).then(() => true, () => false);
  byId("readout").textContent = isCopied ? "The link is copied." : `This browser does not let the page copy; the link is ${location.href}`;
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
      void this.change({ at: at.value, compare: compare.value, select: undefined, hide: [] });
    });
    bins.addEventListener("input", () => void this.change({ bins: Number(bins.value) }));
    find.addEventListener("input", () => void this.change({ find: find.value, page: 0 }));
    sort.addEventListener("change", () => void this.change({ sort: SORTS[sort.selectedIndex]!, page: 0 }));
    for (const input of [at, compare]) {
      input.addEventListener("input", () => this.offer(input.value));
      input.addEventListener("focus", () => this.offer(input.value));
    }
    window.addEventListener("resize", () => this.redraw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
    byId("copy").addEventListener("click", () => void copyLink());
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

  private async read(): Promise<Panel[]> {
    const { view } = this;
    byId("bins_out").textContent = `${view.bins} bins`;
    this.address();
    const place = this.search.place(view.at);
    const other = view.compare.trim() ? this.search.place(view.compare) : undefined;
    const layers = view.sets.map((key) => layerOf(this.layers, key));
    const less = view.minus ? layerOf(this.layers, view.minus) : undefined;
    if (layers.length === 0) throw new Problem("No feature set is chosen; tick one.");
    const page = {
      tell: (text: string) => void (byId("readout").textContent = text),
      turn: (page: number) => void this.change({ page }),
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
    this.panels.forEach((panel) => panel.redraw());
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
    this.panels = panels;
    byId("panels").replaceChildren(...panels.map((panel) => panel.node));
    byId("table").replaceChildren(...panels.flatMap((panel) => panel.tables()));
    this.python();
    panels.forEach((panel) => panel.redraw());
  }

  /** After the picture, since those of a contig may weigh more than the window. */
  private async showGenes(panels: Panel[]): Promise<void> {
    const all = panels.map(async (panel) => {
      const { contig, nBins } = panel.window;
      panel.show(await this.models.within(contig, panel.window.start(0), panel.window.start(nBins)));
    });
    await Promise.all(all).catch(complain); // the picture itself is sound
    byId("table").replaceChildren(...panels.flatMap((panel) => panel.tables()));
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
  if (!view.at) view.at = table[0]?.symbol ?? (contig ? `${contig.name}:${Math.floor(contig.length / 2)}` : "");
  byId("about").textContent = `${described.assembly.name}, feature sets ${described.sets.map((set) => set.name).join(", ")}; ${objects.url.href}`;
  const sealed = query.get("sealed");
  if (sealed !== null && !described.top_hash.startsWith(sealed)) note("The store has changed since this link was made: values may differ.");
  else if (!described.complete) note("This store is not complete: bins that were never built are hatched.");
  const explorer = new Explorer(objects, described, new Search(described, table), new Reader(objects), new GeneModels(objects, table), view);
  explorer.start();
  await explorer.change({});
  await explorer.findModel();
}

open().catch(complain);
