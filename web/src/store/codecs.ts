/** How bytes of a shard become numbers: a checksum that is compared, zstd, and float16. */
import { decompress } from "fzstd";
import { ZSTDDecoder } from "zstddec";
import { Float16Array as Float16 } from "@petamoriken/float16";
import { registry } from "zarrita";
import { Problem } from "../page/problem.js";
import { isServed } from "./http.js";

const T0 = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1; // Castagnoli, reflected
  return crc;
});
/** What a byte does with one more byte after it. */
const shifted = (table: Uint32Array): Uint32Array => table.map((crc) => T0[crc & 255]! ^ (crc >>> 8));
const [T1, T2] = [shifted(T0), shifted(shifted(T0))];
const [T3, T4] = [shifted(T2), shifted(shifted(T2))];
const [T5, T6] = [shifted(T4), shifted(shifted(T4))];
const T7 = shifted(T6);

/** Eight bytes at a time (Kounavis & Berry 2005): a checksum is of every byte that is shown, on the page's one thread. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  let at = 0;
  for (; at + 8 <= data.length; at += 8) {
    const four = crc ^ (data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24));
    crc =
      T7[four & 255]! ^ T6[(four >>> 8) & 255]! ^ T5[(four >>> 16) & 255]! ^ T4[four >>> 24]! ^
      T3[data[at + 4]!]! ^ T2[data[at + 5]!]! ^ T1[data[at + 6]!]! ^ T0[data[at + 7]!]!;
  }
  for (; at < data.length; at++) crc = T0[(crc ^ data[at]!) & 255]! ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** zarrita's own drops the checksum unread: damaged bytes would become colours. */
class Checked {
  readonly kind = "bytes_to_bytes";
  static fromConfig() {
    return new Checked();
  }
  encode(): never {
    throw new Problem("the explorer writes nothing");
  }
  decode(data: Uint8Array): Uint8Array {
    const size = data.length - 4;
    const stored = size < 0 ? NaN : new DataView(data.buffer, data.byteOffset + size, 4).getUint32(0, true);
    const content = data.subarray(0, Math.max(size, 0));
    if (crc32c(content) !== stored) {
      throw new Problem(
        "Stored bytes fail their checksum (crc32c), so nothing of them is shown. Copy the store again, or mend it where " +
          "it lies: `featurestore repair`, then build and seal again.",
      );
    }
    return content;
  }
  computeEncodedSize(size: number): number {
    return size + 4;
  }
}

const ITEM_BYTES: Record<string, number> = { float16: 2, float32: 4, uint8: 1 };

const MOST_BYTES = 1 << 28;

type Decode = (data: Uint8Array, size: number) => Uint8Array;

/** In WebAssembly, a quarter of the time; in JavaScript where a browser or a security policy has none. */
async function decoder(): Promise<Decode> {
  try {
    if (isServed(location)) throw new Problem("the policy of `featurestore serve` allows the page's own script alone");
    const compiled = new ZSTDDecoder();
    await compiled.init();
    return (data, size) => compiled.decode(data, size);
  } catch {
    return (data, size) => decompress(data, new Uint8Array(size));
  }
}

/** zstd into a buffer of the size that a chunk has, so that no frame can ask for more memory. */
class Zstd {
  readonly kind = "bytes_to_bytes";
  constructor(private readonly decompress: Decode, private readonly size: number) {}
  static with(decompress: Decode) {
    return {
      fromConfig: (_: unknown, meta: { shape: number[]; dataType: string }) =>
        new Zstd(decompress, meta.shape.reduce((one, two) => one * two, ITEM_BYTES[meta.dataType] ?? 0)),
    };
  }
  encode(): never {
    throw new Problem("the explorer writes nothing");
  }
  decode(data: Uint8Array): Uint8Array {
    if (!(this.size > 0 && this.size <= MOST_BYTES)) throw new Problem(`A chunk of ${this.size} bytes is not what a store has; it is damaged.`);
    const content = this.decompress(data, this.size);
    if (content.length !== this.size) throw new Problem("A chunk has not the size that its array says; it is damaged.");
    return content;
  }
}

export function registerCodecs(): void {
  const decompress = decoder();
  registry.set("crc32c", async () => Checked as never);
  registry.set("zstd", async () => Zstd.with(await decompress) as never);
  const scope = globalThis as { Float16Array?: unknown };
  scope.Float16Array ??= Float16; // browsers before 2025
}
