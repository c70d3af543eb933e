import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { random } from "../../runtime/tensors/random.js";
import { MAIN, repository } from "./command.js";

// The commands of docs/tasks.md, each section's from its data to a served model.

const folder = mkdtempSync(join(tmpdir(), "fedflat-pages-"));
const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill("SIGKILL");
  rmSync(folder, { recursive: true });
});
const sections = readFileSync(repository("docs/tasks.md"), "utf8").split(/^## /m).slice(1);
const blocksOf = (section: string, kind: string) =>
  [...section.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\``, "gms"))].map(([, text]) => text);

const chance = random("pages");
const noise = () => chance.next() - 0.5;
const write = (name: string, lines: readonly string[]) =>
  writeFileSync(join(folder, name), [...lines, ""].join("\n"));
const series = (rows: number) => [
  "x,y,temperature",
  ...Array.from({ length: rows }, (_, t) =>
    [Math.sin(t / 3), Math.cos(t / 3), 45 + 5 * Math.sin(t / 20) + noise() / 5].join(","),
  ),
];
write("machines.csv", [
  "temperature,vibration,current,label",
  ...Array.from({ length: 120 }, (_, i) =>
    i % 2 === 0
      ? [41 + noise(), 0.3 + noise() / 5, 2 + noise(), "idle"].join(",")
      : [59 + noise(), 1.9 + noise() / 5, 7 + noise(), "drilling"].join(","),
  ),
]);
mkdirSync(join(folder, "machines"));
for (const name of ["first", "second", "third"]) write(`machines/${name}.csv`, series(400));
write("new.csv", series(100));
mkdirSync(join(folder, "texts"));
for (const name of ["one", "two"])
  write(`texts/${name}.txt`, ["the cat sat on the mat and the dog sat too. ".repeat(60)]);
for (const section of sections)
  for (const text of blocksOf(section, "json")) {
    const name = text.includes('"lstm"') ? "forecast.json" : "autoencoder.json";
    writeFileSync(join(folder, name), text);
  }

/** Runs a command of the page in the folder; what it says comes bit by bit too. */
function begin(argv: readonly string[], said: (text: string) => void = () => {}) {
  const child = spawn(process.execPath, [MAIN, ...argv], { cwd: folder });
  children.push(child);
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => said((output += String(data))));
  return new Promise<string>((resolve, reject) =>
    child.on("close", (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${argv.join(" ")}\n${output}`)),
    ),
  );
}

/** A command as the page has it, with fewer rounds. */
const argvOf = (line: string) =>
  line
    .replace(/--rounds \d+/, "--rounds 2 --local-epochs 1")
    .split(" ")
    .slice(1);

/** An aggregator on a free port and its clients. */
async function federate(serve: string, joins: readonly string[]): Promise<string> {
  let listening!: (url: string) => void;
  const url = new Promise<string>((resolve) => (listening = resolve));
  const served = begin([...argvOf(serve), "--port", "0"], (output) => {
    const found = /Listening at (ws:\S+);/.exec(output);
    if (found !== null) listening(found[1]);
  });
  // An end before it listens is the test's end.
  const at = await Promise.race([url, served.then((output) => Promise.reject(new Error(output)))]);
  const ended = Promise.all(joins.map((join) => begin([...argvOf(join), "--url", at])));
  const output = await served;
  await ended;
  return output;
}

const SAYS: Readonly<Record<string, { run: RegExp; predict: RegExp }>> = {
  Classification: { run: /Done after 2 rounds: accuracy /, predict: /^label,prediction,/ },
  Anomalies: {
    run: /An error above [\d.]+ is an anomaly: 99 %/,
    predict: /^error,threshold,anomaly/,
  },
  "A forecast": {
    run: /Done after 2 rounds: R2 /,
    predict: /^temperature,predicted temperature\n4\d/,
  },
  Text: { run: /Done after 2 rounds: bits per symbol /, predict: /^prediction\n/ },
};

for (const section of sections) {
  const title = section.split("\n", 1)[0];
  test(`${title}: the commands of docs/tasks.md go from files to a served model`, async () => {
    const blocks = blocksOf(section, "sh").map((text) => text.trim().split("\n"));
    assert.equal(blocks.length, 2);
    for (const lines of blocks) {
      const [first, ...others] = lines;
      const joins = others.filter((line) => line.startsWith("fedflat join"));
      const [predict] = others.filter((line) => line.startsWith("fedflat predict"));
      const output = await (joins.length > 0 ? federate(first, joins) : begin(argvOf(first)));
      assert.match(output, SAYS[title].run);
      if (title !== "Classification") assert.doesNotMatch(output, /accuracy/i);
      assert.match(await begin(argvOf(predict)), SAYS[title].predict);
      // The next block's clients begin again.
      for (const state of ["first", "second"])
        rmSync(join(folder, state), { recursive: true, force: true });
    }
  });
}
