import { writeFile } from "node:fs/promises";
import { toPng } from "./png.js";

/** Writes a picture as `path`.svg and `path`.png. */
export async function savePicture(path: string, svg: string): Promise<void> {
  await writeFile(`${path}.svg`, svg);
  await writeFile(`${path}.png`, await toPng(svg));
}
