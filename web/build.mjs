// node build.mjs [FILE]: one page with its script and style inside, in featurestore/web/static/ or in FILE.
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url).pathname;
const bundled = await build({
  entryPoints: [here("src/page/main.ts")],
  bundle: true,
  minify: true,
  write: false,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
  // codecs that no store has, in WebAssembly
  external: ["numcodecs/*"],
  banner: { js: "/* With zarrita (c) Trevor Manz, fzstd (c) Arjun Barrett, zstddec (c) Don McCurdy, float16 (c) Kenta Moriuchi: MIT licence; zstd (c) Meta: BSD licence */" },
});
const script = bundled.outputFiles[0].text;
const style = readFileSync(here("src/page/style.css"), "utf8");
const hash = (text) => `sha256-${createHash("sha256").update(text).digest("base64")}`;
const parts = { SCRIPT: script, STYLE: style, SCRIPT_HASH: hash(script), STYLE_HASH: hash(style) };
const page = readFileSync(here("src/page/page.html"), "utf8").replace(/\{\{(\w+)\}\}/g, (_, name) => parts[name]);
const out = process.argv[2] ?? here("../featurestore/web/static/index.html");
writeFileSync(out, page);
if (process.argv[2] === undefined) {
  // what each package that is inside the page asks to be passed on with it
  const inside = ["zarrita", "fzstd", "zstddec", "@petamoriken/float16"];
  const licences = inside.map((name) => `${name}\n\n${readFileSync(here(`node_modules/${name}/LICENSE`), "utf8").trim()}\n`);
  writeFileSync(here("../featurestore/web/static/licences.txt"), licences.join(`\n${"-".repeat(80)}\n\n`));
}
console.log(`${out}: ${page.length} characters, ${gzipSync(page).length} bytes gzipped`);
