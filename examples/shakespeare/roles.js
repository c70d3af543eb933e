// Splits a play into one text for each role:   node roles.js PLAY FOLDER [LEAST]
// A play has lines such as "ROMEO:", the speech behind them, and a blank line. Roles that say fewer
// than LEAST characters (2,000) are left out.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

const [play, folder, least = "2000"] = process.argv.slice(2);
if (play === undefined || folder === undefined) {
  console.error("usage: node roles.js PLAY FOLDER [LEAST]");
  process.exit(2);
}
const bytes = readFileSync(play);
const text = (play.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");

/** What each role says, its speeches one behind the other. */
const roles = new Map();
for (const part of text.split("\n\n")) {
  const [, name, speech] = /^([^\n:]+):\n([^]+)$/.exec(part.trim()) ?? [];
  if (name !== undefined) roles.set(name, `${roles.get(name) ?? ""}${speech}\n\n`);
}

mkdirSync(folder, { recursive: true });
const chosen = [...roles].filter(([, speeches]) => speeches.length >= Number(least));
for (const [name, speeches] of chosen)
  writeFileSync(join(folder, `${name.replaceAll(/[^A-Za-z]+/g, "-")}.txt`), speeches);
console.log(`${chosen.length} of ${roles.size} roles`);
