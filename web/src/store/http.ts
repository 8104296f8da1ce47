/** Objects of a store on any web server that answers ranges. Belongs here: requests and what may be wrong with them. */
import type { AbsolutePath, AsyncReadable, RangeQuery } from "@zarrita/storage";
import { Problem } from "../page/problem.js";

const MAX_BYTES = 1 << 28;

/** The name of the store, if `featurestore serve` has it at this address. */
export const servedStore = ({ pathname }: { pathname: string }): string | undefined => /^\/stores\/([^/]+)\//.exec(pathname)?.[1];

export const isServed = (address: { pathname: string }): boolean => servedStore(address) !== undefined;

export class HttpObjects implements AsyncReadable {
  requests = 0;
  bytes = 0;
  /** Whether the server knows `bytes=-n`; several common ones know `bytes=a-b` alone. */
  private knowsSuffixes = true;

  /** @param url folder of the store, with `/` at its end */
  constructor(readonly url: URL) {}

  async get(key: AbsolutePath): Promise<Uint8Array | undefined> {
    const { response, stop } = await this.ask(key, {});
    if (response.status === 404) return undefined;
    if (!response.ok) throw this.refused(key, response);
    return this.body(key, response, stop);
  }

  /** An object that a store may lack. S3 answers 403 for it to whoever may not list the bucket. */
  async getIfThere(key: AbsolutePath): Promise<Uint8Array | undefined> {
    const { response, stop } = await this.ask(key, {});
    if (response.status === 404 || response.status === 403) return undefined;
    if (!response.ok) throw this.refused(key, response);
    return this.body(key, response, stop);
  }

  /** Part of a shard. A shard that is not there is an error: the caller asks only for those on record as built. */
  async getRange(key: AbsolutePath, range: RangeQuery): Promise<Uint8Array> {
    const wanted = "suffixLength" in range ? range.suffixLength : range.length;
    if (!(wanted > 0 && wanted <= MAX_BYTES)) {
      throw new Problem(`${this.at(key)} is damaged: its index names a part of ${wanted} bytes. Try \`featurestore verify --crc\`.`);
    }
    const bytes = "suffixLength" in range ? await this.suffix(key, wanted) : `${range.offset}-${range.offset + wanted - 1}`;
    const { response, stop } = await this.ask(key, { Range: `bytes=${bytes}` });
    if (bytes.startsWith("-") && [200, 416].includes(response.status)) {
      stop();
      this.knowsSuffixes = false;
      return this.getRange(key, range);
    }
    if (response.status === 404) {
      throw new Problem(`${this.at(key)} is on record as built, but it is not there. Was the whole store copied?`);
    }
    if (response.status === 200) {
      stop();
      throw new Problem(
        `The server of ${this.url.host} ignores ranges: it answered "Range: bytes=${bytes}" with status 200, the whole ` +
          "file, where 206 was expected. Use one that answers ranges (Accept-Ranges: bytes); docs/hosting.md names some.",
      );
    }
    if (response.status !== 206) throw this.refused(key, response);
    const data = await this.body(key, response, stop);
    if (data.length !== wanted) {
      throw new Problem(`${this.at(key)}: ${data.length} bytes came where ${wanted} were expected; it is cut off, or damaged.`);
    }
    return data;
  }

  /** The last bytes of an object, as a range: `-n`, or from its size where the server does not know that. */
  private async suffix(key: AbsolutePath, wanted: number): Promise<string> {
    if (this.knowsSuffixes) return `-${wanted}`;
    const { response } = await this.ask(key, {}, "HEAD");
    const size = Number(response.headers.get("Content-Length") ?? NaN);
    if (response.status === 404 || !(size >= wanted)) return `0-${wanted - 1}`; // the answer to this says what is wrong
    return `${size - wanted}-${size - 1}`;
  }

  private at(key: AbsolutePath): string {
    return new URL(key.slice(1), this.url).href;
  }

  private async ask(key: AbsolutePath, headers: Record<string, string>, method = "GET") {
    const control = new AbortController();
    this.requests += 1;
    try {
      // no-cache: a store that was built anew under the same address is asked for, not remembered; no-store: nor does a
      // browser answer ranges itself from the whole files that a server sent in place of their last bytes
      const cache = this.knowsSuffixes ? "no-cache" : "no-store";
      const response = await fetch(this.at(key), { method, headers, signal: control.signal, cache });
      return { response, stop: () => control.abort() };
    } catch (cause) {
      throw new Problem(this.unreachable(key), { cause });
    }
  }

  private unreachable(key: AbsolutePath): string {
    if (!navigator.onLine) return `${this.at(key)} cannot be read: this computer is offline. Connect it, then try again.`;
    if (this.url.origin === location.origin) return `${this.at(key)} cannot be read: its server does not answer.`;
    return (
      `${this.at(key)} cannot be read: its server does not answer, or it does not allow other pages to read it (CORS): ` +
      `Access-Control-Allow-Origin must name ${location.origin} or *, and Access-Control-Allow-Headers must name Range. ` +
      "docs/hosting.md shows how to set both."
    );
  }

  private refused(key: AbsolutePath, response: Response): Problem {
    return new Problem(`${this.at(key)} cannot be read: the server answered ${response.status} ${response.statusText}.`);
  }

  private async body(key: AbsolutePath, response: Response, stop: () => void): Promise<Uint8Array> {
    if (Number(response.headers.get("Content-Length") ?? 0) > MAX_BYTES) {
      stop();
      throw new Problem(`${this.at(key)} has more than ${MAX_BYTES} bytes, which no store has there.`);
    }
    try {
      const data = new Uint8Array(await response.arrayBuffer());
      this.bytes += data.length;
      return data;
    } catch (cause) {
      throw new Problem(this.unreachable(key), { cause });
    }
  }
}
