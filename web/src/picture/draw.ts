/** Channels x bins on a canvas. Belongs here: colours and pixels. */
import { BUILT, OUTSIDE } from "../store/windows.js";
import type { Picture } from "./picture.js";

export const ROW = 16;
/** Width of the names of channels (px), less on a narrow screen. */
export const labelsOf = (width: number): number => Math.round(Math.min(190, 0.3 * width));

type Rgb = readonly [number, number, number];
// Cividis (Nunez, Anderton & Renslow 2018, PLOS ONE 13:e0199239) and a blue-orange scale: both told apart by the colour-blind.
const CIVIDIS: Rgb[] = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56]];
const DIVERGING: Rgb[] = [[5, 80, 160], [130, 175, 215], [245, 245, 245], [240, 170, 95], [165, 80, 0]];

function colour(scale: Rgb[], part: number): Rgb {
  const at = Math.min(Math.max(part, 0), 1) * (scale.length - 1);
  const low = Math.min(Math.floor(at), scale.length - 2);
  const mix = (index: 0 | 1 | 2) =>
    Math.round(scale[low]![index] + (at - low) * (scale[low + 1]![index] - scale[low]![index]));
  return [mix(0), mix(1), mix(2)];
}

/** The colours from the lowest to the highest value, for a style. */
export const gradient = (isDifference: boolean): string =>
  `linear-gradient(to right, ${(isDifference ? DIVERGING : CIVIDIS).map((rgb) => `rgb(${rgb.join(" ")})`).join(", ")})`;

function span(picture: Picture, channel: number): [number, number] {
  if (picture.most !== undefined) return [-picture.most, picture.most];
  let low = Infinity;
  let high = -Infinity;
  for (let bin = 0; bin < picture.nBins; bin++) {
    if (picture.states[bin] !== BUILT) continue;
    const value = picture.value(bin, channel);
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!picture.isDifference) return [low, high];
  const most = Math.max(Math.abs(low), Math.abs(high));
  return [-most, most];
}

function pixels(picture: Picture, shown: number[]): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = picture.nBins;
  canvas.height = shown.length;
  const image = new ImageData(canvas.width, canvas.height);
  shown.forEach((channel, row) => {
    const [low, high] = span(picture, channel);
    for (let bin = 0; bin < picture.nBins; bin++) {
      if (picture.states[bin] !== BUILT) continue;
      const part = high > low ? (picture.value(bin, channel) - low) / (high - low) : picture.isDifference ? 0.5 : 0;
      const [red, green, blue] = colour(picture.isDifference ? DIVERGING : CIVIDIS, part);
      image.data.set([red, green, blue, 255], 4 * (row * picture.nBins + bin));
    }
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
  return canvas;
}

/** Lines across bins without values: leaning right outside the contig, left where nothing was built. */
function hatch(context: CanvasRenderingContext2D, picture: Picture, width: number, height: number): void {
  for (let bin = 0; bin < picture.nBins; bin++) {
    const state = picture.states[bin];
    if (state === BUILT) continue;
    let end = bin + 1;
    while (end < picture.nBins && picture.states[end] === state) end++;
    const left = (bin / picture.nBins) * width;
    const right = (end / picture.nBins) * width;
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, height);
    context.clip();
    context.beginPath();
    const lean = state === OUTSIDE ? height : -height;
    for (let x = left - height; x < right + height; x += 8) {
      context.moveTo(x, height);
      context.lineTo(x + lean, 0);
    }
    context.stroke();
    context.restore();
    bin = end - 1;
  }
}

/** What is marked in a picture. */
export interface Marks {
  /** Bin and row. */
  cursor?: [number, number] | undefined;
  /** Bins `[first, end)`. */
  selected?: [number, number] | undefined;
  /** Stretches of bins that are hidden from the model. */
  hidden?: [number, number][];
  /** Bins of an overlay. */
  touched?: ReadonlySet<number>;
}

/** @param shown channels, from the top */
export function draw(canvas: HTMLCanvasElement, picture: Picture, shown: number[], marks: Marks, width = canvas.clientWidth || 800): void {
  const height = Math.max(shown.length, 1) * ROW;
  const dense = window.devicePixelRatio || 1;
  canvas.style.height = `${height}px`;
  canvas.width = width * dense;
  canvas.height = height * dense;
  const context = canvas.getContext("2d")!;
  context.scale(dense, dense);
  const style = getComputedStyle(document.body);
  context.fillStyle = context.strokeStyle = style.color;
  context.font = "12px system-ui, sans-serif";
  context.textBaseline = "middle";
  const labels = labelsOf(width);
  shown.forEach((channel, row) => context.fillText(clipped(context, picture.names[channel]!, labels - 6), 2, (row + 0.5) * ROW));
  const plot = width - labels;
  context.translate(labels, 0);
  context.imageSmoothingEnabled = false;
  if (shown.length > 0) context.drawImage(pixels(picture, shown), 0, 0, plot, height);
  hatch(context, picture, plot, height);
  drawMarks(context, picture, marks, plot, height);
}

function drawMarks(context: CanvasRenderingContext2D, picture: Picture, marks: Marks, plot: number, height: number): void {
  const bin = plot / picture.nBins;
  context.strokeStyle = context.fillStyle = "#d81b60";
  context.setLineDash([4, 3]);
  context.strokeRect(picture.centre * bin, -2, 0, height + 4);
  context.setLineDash([]);
  for (const one of marks.touched ?? []) context.fillRect(one * bin, 0, Math.max(bin, 1), 2);
  for (const [first, end] of marks.hidden ?? []) {
    context.clearRect(first * bin, 0, (end - first) * bin, height);
    context.strokeRect(first * bin, 0.5, (end - first) * bin, height - 1);
  }
  context.lineWidth = 2;
  if (marks.selected !== undefined) {
    const [left, right] = [marks.selected[0] * bin, marks.selected[1] * bin];
    context.globalAlpha = 0.6;
    context.fillStyle = getComputedStyle(document.body).backgroundColor;
    context.fillRect(0, 0, left, height);
    context.fillRect(right, 0, plot - right, height);
    context.globalAlpha = 1;
    context.strokeRect(left, 1, right - left, height - 2);
  }
  if (marks.cursor !== undefined) context.strokeRect(marks.cursor[0] * bin, marks.cursor[1] * ROW, Math.max(bin, 3), ROW);
}

function clipped(context: CanvasRenderingContext2D, name: string, most: number): string {
  const width = context.measureText(name).width;
  if (width <= most) return name;
  let kept = Math.floor((name.length * most) / width);
  while (kept > 1 && context.measureText(`${name.slice(0, kept)}…`).width > most) kept--;
  return `${name.slice(0, kept)}…`;
}
