// Read a window of a store without Zarr: `node read_window.cjs STORE SET CONTIG CENTRE N_BINS` prints it as JSON.
const { readFileSync, existsSync } = require("node:fs");
const zlib = require("node:zlib");
const unzstd = zlib.zstdDecompressSync ?? require("fzstd").decompress; // Node 22.15 and later have it

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  for (let bit = 0; bit < 8; bit++) byte = byte & 1 ? (byte >>> 1) ^ 0x82f63b78 : byte >>> 1;
  return byte;
});
const crc32c = (data) => ~data.reduce((crc, byte) => (crc >>> 8) ^ TABLE[(crc ^ byte) & 255], -1) >>> 0;
const half = (bits) => {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024));
};
const READ = { float16: [2, (b, at) => half(b.readUInt16LE(at))], float32: [4, (b, at) => b.readFloatLE(at)], uint8: [1, (b, at) => b[at]] };
const document = (path) => JSON.parse(readFileSync(path, "utf8"));
const keyOf = (contig) => contig.replace(/[^A-Za-z0-9._+-]/gu, (c) => [...Buffer.from(c)].map((b) => "=" + b.toString(16).toUpperCase().padStart(2, "0")).join(""));

function checked(data, where) {
  const body = data.subarray(0, -4);
  if (data.length < 4 || crc32c(body) !== data.readUInt32LE(body.length)) throw new Error(`${where} is damaged: a checksum is wrong`);
  return body;
}

function readRow(values, commits, phase, row) {
  const array = document(`${values}/zarr.json`);
  const [, chunkRows, channels] = array.codecs[0].configuration.chunk_shape;
  const shardRows = array.chunk_grid.configuration.chunk_shape[1];
  const [shard, within, [width, read]] = [Math.floor(row / shardRows), row % shardRows, READ[array.data_type]];
  const path = `${values}/c/${phase}/${shard}/0`;
  if (!existsSync(`${commits}/${phase}-${shard}.json`)) throw new Error(`${path} was not built: it has no commit record`);
  const data = readFileSync(path);
  const index = checked(data.subarray(-16 * (shardRows / chunkRows) - 4), path);
  const at = 16 * Math.floor(within / chunkRows);
  const start = Number(index.readBigUInt64LE(at));
  const chunk = Buffer.from(unzstd(checked(data.subarray(start, start + Number(index.readBigUInt64LE(at + 8))), path)));
  return Array.from({ length: channels }, (_, channel) => read(chunk, ((within % chunkRows) * channels + channel) * width));
}

function readWindow(store, name, contig, centre, nBins) {
  if (![1, 2].includes(document(`${store}/zarr.json`).attributes.featurestore.format)) throw new Error(`${store} has a format that this reader does not know`);
  const { bin_size: size, offsets, pad } = document(`${store}/features/${name}/zarr.json`).attributes.feature_set;
  const group = `${store}/features/${name}/${keyOf(contig)}`;
  const begin = centre - Math.floor((nBins * size) / 2);
  const firsts = offsets.map((offset) => Math.floor((begin + offset + Math.floor((size - 1) / 2)) / size));
  const residuals = offsets.map((offset, phase) => firsts[phase] * size - offset - begin);
  const phase = residuals.reduce((best, one, here) => (Math.abs(one) < Math.abs(residuals[best]) ? here : best), 0);
  const bins = Math.ceil((document(`${group}/zarr.json`).attributes.length + offsets[phase]) / size);
  const values = Array.from({ length: nBins }, (_, bin) => firsts[phase] + bin).map((row) =>
    row < 0 || row >= bins ? pad : readRow(`${group}/values`, `${store}/commits/${name}/${keyOf(contig)}`, phase, row));
  return { phase, first_bin: firsts[phase], residual: residuals[phase], values };
}

module.exports = { readWindow };
if (require.main === module) {
  const [store, name, contig, centre, nBins] = process.argv.slice(2);
  console.log(JSON.stringify(readWindow(store, name, contig, Number(centre), Number(nBins))));
}
