/** Pointer and keys in a picture: which bin and channel is pointed at, which bins are selected. */
export type Span = [number, number];

export interface Moves {
  nBins: number;
  nRows: number;
  /** Bin and row at a point of the picture (px); undefined outside. */
  at(x: number, y: number): Span | undefined;
  go(bin: number, row: number): void;
  /** The context longer or shorter by a factor. */
  zoom(factor: number): void;
  /** Bins `[first, end)`, or none. */
  select(bins: Span | undefined): void;
}

const STEPS: Record<string, Span> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const ZOOMS: Record<string, number> = { "+": 1 / 1.3, "=": 1 / 1.3, "-": 1.3 };
const inside = (at: number, end: number) => Math.min(Math.max(at, 0), end - 1);

/**
 * Drag, or hold Shift with the arrow keys, to select; a click or Escape takes the selection away. Pinch, the wheel with
 * Ctrl, or + and - change the context.
 */
export function follow(canvas: HTMLCanvasElement, moves: Moves): void {
  let cursor: Span | undefined;
  let anchor: number | undefined;
  let isDragged = false;
  const selectTo = (bin: number) => anchor !== undefined && moves.select([Math.min(anchor, bin), Math.max(anchor, bin) + 1]);
  const go = (at: Span) => {
    cursor = at;
    moves.go(...at);
  };
  canvas.addEventListener("pointerdown", (event) => {
    anchor = moves.at(event.offsetX, event.offsetY)?.[0];
    isDragged = false;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = moves.at(event.offsetX, event.offsetY);
    if (at === undefined) return;
    go(at);
    if (event.buttons !== 1 || anchor === undefined || (at[0] === anchor && !isDragged)) return;
    isDragged = true;
    selectTo(at[0]);
  });
  canvas.addEventListener("pointerup", () => {
    if (!isDragged) moves.select(undefined);
    anchor = undefined;
  });
  let turned = 0;
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return; // the page scrolls
    event.preventDefault();
    turned += event.deltaMode === 0 ? event.deltaY : 40 * event.deltaY;
    if (Math.abs(turned) < 20) return;
    moves.zoom(Math.exp(Math.min(Math.max(turned, -100), 100) / 400));
    turned = 0;
  }, { passive: false });
  canvas.addEventListener("keydown", (event) => {
    const factor = ZOOMS[event.key];
    if (factor !== undefined && !event.ctrlKey && !event.metaKey) moves.zoom(factor);
    if (event.key === "Escape") {
      anchor = undefined;
      moves.select(undefined);
    }
    const step = STEPS[event.key];
    if (step === undefined || moves.nRows === 0) return;
    event.preventDefault();
    const [bin, row] = cursor ?? [Math.floor(moves.nBins / 2) - step[0], -step[1]];
    if (!event.shiftKey) anchor = undefined;
    else anchor ??= inside(bin, moves.nBins);
    go([inside(bin + step[0], moves.nBins), inside(row + step[1], moves.nRows)]);
    if (event.shiftKey) selectTo(cursor![0]);
  });
}
