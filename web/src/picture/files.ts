/** What a person takes along: the numbers as text, the picture as PNG. */
import { BUILT, NEVER_BUILT, OUTSIDE, type Window } from "../store/windows.js";
import type { Picture } from "./picture.js";

export const STATES: Record<number, string> = { [BUILT]: "built", [OUTSIDE]: "outside the contig", [NEVER_BUILT]: "never built" };

/** Bins `[first, end)` and some channels, as exact as they are stored. */
export function tsv(window: Window, picture: Picture, channels: number[], [first, end]: [number, number]): string {
  const clean = (text: string) => text.replaceAll(/[\t\r\n]/g, " ");
  const head = ["contig", "start", "end", "state", ...channels.map((channel) => clean(picture.names[channel]!))];
  const lines = Array.from({ length: end - first }, (_, at) => {
    const bin = first + at;
    const values = channels.map((channel) => String(picture.value(bin, channel)));
    return [clean(window.contig.name), window.start(bin), window.start(bin + 1), STATES[picture.states[bin]!], ...values].join("\t");
  });
  return [head.join("\t"), ...lines, ""].join("\n");
}

/** A drawn canvas on the page's background, so that its letters can be read anywhere. */
export async function png(canvas: HTMLCanvasElement): Promise<Blob> {
  const page = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = page.getContext("2d")!;
  context.fillStyle = getComputedStyle(document.body).backgroundColor;
  context.fillRect(0, 0, page.width, page.height);
  context.drawImage(canvas, 0, 0);
  return new Promise((resolve, reject) => page.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the picture is too large for a PNG")))));
}
