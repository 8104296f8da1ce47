/** How bytes of a shard become numbers: a checksum that is compared, zstd without WebAssembly, and float16. */
import { decompress } from "fzstd";
import { Float16Array as Float16 } from "@petamoriken/float16";
import { registry } from "zarrita";
import { Problem } from "../page/problem.js";

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1; // Castagnoli, reflected
  return crc;
});

export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (let at = 0; at < data.length; at++) crc = TABLE[(crc ^ data[at]!) & 255]! ^ (crc >>> 8); // `of` takes five times as long
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

/** zstd into a buffer of the size that a chunk has, so that no frame can ask for more memory. */
class Zstd {
  readonly kind = "bytes_to_bytes";
  constructor(private readonly size: number) {}
  static fromConfig(_: unknown, meta: { shape: number[]; dataType: string }) {
    return new Zstd(meta.shape.reduce((one, two) => one * two, ITEM_BYTES[meta.dataType] ?? 0));
  }
  encode(): never {
    throw new Problem("the explorer writes nothing");
  }
  decode(data: Uint8Array): Uint8Array {
    const content = decompress(data, new Uint8Array(this.size));
    if (content.length !== this.size) throw new Problem("A chunk has not the size that its array says; it is damaged.");
    return content;
  }
}

export function registerCodecs(): void {
  registry.set("crc32c", async () => Checked as never);
  registry.set("zstd", async () => Zstd as never);
  const scope = globalThis as { Float16Array?: unknown };
  scope.Float16Array ??= Float16; // browsers before 2025
}
