/** Elements made of text, never of markup: names in a store come from whoever made it. */
import { Problem } from "./problem.js";

export function byId<T extends HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Problem(`the page has no ${id}`);
  return found as T;
}

export function element<K extends keyof HTMLElementTagNameMap>(name: K, ...inside: (Node | string)[]): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.append(...inside);
  return made;
}

export function table(caption: string, heads: string[], rows: string[][]): HTMLTableElement {
  const head = element("tr", ...heads.map((text) => Object.assign(element("th", text), { scope: "col" })));
  const body = rows.map(([first = "", ...rest]) =>
    element("tr", Object.assign(element("th", first), { scope: "row" }), ...rest.map((text) => element("td", text))),
  );
  return element("table", element("caption", caption), element("thead", head), element("tbody", ...body));
}

/** Save as a file. */
export function download(name: string, content: Blob): void {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(content), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function button(text: string, act: () => void): HTMLButtonElement {
  const made = Object.assign(element("button", text), { type: "button" });
  made.addEventListener("click", act);
  return made;
}
