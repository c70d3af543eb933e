import { execFileSync } from "node:child_process";
import { rm } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import { found, startProgram } from "./browsers.js";
import { link, projectWith } from "./package.js";
import { oneRound, program } from "./round.js";

/** What Deno has to allow, as docs/client.md says. */
const PERMISSIONS = ["--allow-net", "--allow-read", "--allow-write", "--allow-env", "--no-prompt"];

/** Engines that run a program of Node's, and how each is told to. */
const ENGINES = [
  { name: "Bun", command: found(process.env["FEDFLAT_BUN"], "bun"), argv: ["run"] },
  {
    name: "Deno",
    command: found(process.env["FEDFLAT_DENO"], "deno"),
    argv: ["run", ...PERMISSIONS, "--node-modules-dir=manual", "--cached-only"],
  },
];

describe("a program takes part in a committed round", () => {
  let project: string;
  before(async () => {
    project = await projectWith({
      "package.json": JSON.stringify({ type: "module", dependencies: { fedflat: "*" } }),
      "take-part.js": program("fedflat"),
    });
    await link(project, "ws", "@tensorflow");
  });
  after(() => rm(project, { recursive: true, force: true }));

  for (const { name, command, argv } of ENGINES) {
    const skip =
      command === undefined &&
      `not here: npm install --global ${name.toLowerCase()}, or name it in FEDFLAT_${name.toUpperCase()}`;
    const version =
      command && /\d[\d.]*/.exec(execFileSync(command, ["--version"], { encoding: "utf8" }))?.[0];
    test(`in ${name}${version ? ` ${version}` : ""}`, { skip }, async (t) => {
      const round = await oneRound(t);
      const started = startProgram(t, command!, [...argv, "take-part.js", round.query], {
        cwd: project,
      });
      await round.assertCommitted(await round.said(started));
    });
  }
});
