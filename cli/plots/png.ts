import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { initWasm, Resvg } from "@resvg/resvg-wasm";

const require = createRequire(import.meta.url);
let font: Promise<Uint8Array> | undefined;

async function prepare(): Promise<Uint8Array> {
  await initWasm(await readFile(require.resolve("@resvg/resvg-wasm/index_bg.wasm")));
  return readFile(
    require.resolve("@fontsource/dejavu-sans/files/dejavu-sans-latin-400-normal.woff2"),
  );
}

/**
 * A picture of ours as PNG, with its own font, so that it is the same on every machine. Twice the
 * pixels, for sharp text.
 */
export async function toPng(svg: string): Promise<Uint8Array> {
  const bytes = await (font ??= prepare());
  const image = new Resvg(svg, {
    fitTo: { mode: "zoom", value: 2 },
    font: {
      loadSystemFonts: false,
      fontBuffers: [bytes],
      defaultFontFamily: "DejaVu Sans",
      sansSerifFamily: "DejaVu Sans",
    },
  });
  try {
    return image.render().asPng();
  } finally {
    image.free();
  }
}
