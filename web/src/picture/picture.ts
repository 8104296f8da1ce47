/** Numbers to draw: those of a window, or those of one minus those of another. */
import { Problem } from "../page/problem.js";
import type { Window } from "../store/windows.js";

export interface Picture {
  names: string[];
  /** The number of each channel in the set; in that which is subtracted. */
  channels: number[];
  others: number[];
  nBins: number;
  states: Uint8Array;
  /** Bins from the left to where a line is drawn. */
  centre: number;
  isDifference: boolean;
  /** The largest absolute difference, where all channels are on one scale. */
  most?: number;
  /** @param channel index into `names` */
  value(bin: number, channel: number): number;
}

export function pictureOf(window: Window, other: Window | undefined): Picture {
  const { nBins } = window;
  const centre = nBins / 2;
  if (other === undefined) {
    const value = (bin: number, channel: number) => window.value(bin, channel);
    const all = window.set.channels.map((_, index) => index);
    return { names: window.set.channels, channels: all, others: all, nBins, states: window.states, centre, isDifference: false, value };
  }
  refuseShifted(window, other);
  const [mine, theirs] = shared(window, other);
  return {
    names: mine.map((channel) => window.set.channels[channel]!),
    channels: mine,
    others: theirs,
    nBins,
    states: window.states.map((state, bin) => Math.max(state, other.states[bin]!)),
    centre,
    isDifference: true,
    value: (bin, channel) => window.value(bin, mine[channel]!) - other.value(bin, theirs[channel]!),
  };
}

/** Bins `[first, end)` of a picture. */
export function cropped(picture: Picture, [first, end]: [number, number]): Picture {
  return {
    ...picture,
    nBins: end - first,
    states: picture.states.slice(first, end),
    centre: picture.centre - first,
    value: (bin, channel) => picture.value(first + bin, channel),
  };
}

/** Numbers of the channels that two sets call alike, in the order of the first. */
function shared(one: Window, two: Window): [number[], number[]] {
  if (one.set === two.set) {
    const all = one.set.channels.map((_, index) => index);
    return [all, all];
  }
  const at = new Map(two.set.channels.map((name, index) => [name, index]));
  const mine = one.set.channels.flatMap((name, index) => (at.has(name) ? [index] : []));
  if (mine.length === 0) {
    throw new Problem(
      `${one.set.name} and ${two.set.name} have no channel of the same name, so there is nothing to subtract; tick both to ` +
        "see them above each other.",
    );
  }
  return [mine, mine.map((index) => at.get(one.set.channels[index]!)!)];
}

function refuseShifted(one: Window, two: Window): void {
  const [size, theirs] = [one.set.bin_size, two.set.bin_size];
  if (size !== theirs) {
    throw new Problem(`${one.set.name} has bins of ${size} bp and ${two.set.name} of ${theirs} bp: they cannot be subtracted.`);
  }
  const isOnePlace = one.contig.name === two.contig.name && one.centre === two.centre;
  const shift = two.start(0) - one.start(0);
  if (isOnePlace && shift !== 0) {
    throw new Problem(
      `Bins of ${one.set.name} and ${two.set.name} do not line up: those of the second begin ${shift} bp after those of the ` +
        "first here, since the sets have phases of other offsets.",
    );
  }
}
