import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { parse } from "yaml";
import { repository, run } from "../cli/command.js";

const read = (name: string) => readFile(repository(`examples/grid/${name}`), "utf8");
const flagsIn = (text: string) => text.match(/(?<![\w-])--[a-z-]+/g) ?? [];

test("the grid's jobs hand every shard out once, with flags of experiment", async () => {
  const { stdout } = await run("experiment", "--help");
  const known = new Set(flagsIn(stdout));
  const job = parse(await read("kubernetes.yaml")) as {
    spec: {
      completionMode: string;
      completions: number;
      template: { spec: { containers: { command: string[]; args: string[] }[] } };
    };
  };
  const [{ command, args }] = job.spec.template.spec.containers;
  assert.deepEqual([job.spec.completionMode, command], ["Indexed", ["sh", "-c"]]);
  const [, fedflat] = args[0].split("experiment");
  assert.deepEqual(
    flagsIn(fedflat).filter((flag) => !known.has(flag)),
    [],
  );
  const shards = Array.from({ length: job.spec.completions }, (_, index) => {
    const shell = args[0].replace(/^exec npx --yes fedflat-cli/, "echo");
    const env = { ...process.env, JOB_COMPLETION_INDEX: String(index) };
    const said = spawnSync("sh", ["-c", shell], { env, encoding: "utf8" }).stdout;
    return /--shard (\S+)/.exec(said)![1];
  });
  const { completions } = job.spec;
  assert.deepEqual(
    shards,
    Array.from({ length: completions }, (_, i) => `${i + 1}/${completions}`),
  );

  const slurm = await read("slurm.sh");
  assert.match(slurm, /^#SBATCH --array=1-8$/m);
  const [, script] = slurm.split('npx fedflat experiment "$1"');
  assert.deepEqual(
    flagsIn(script).filter((flag) => !known.has(flag)),
    [],
  );
  assert.equal(spawnSync("bash", ["-n", repository("examples/grid/slurm.sh")]).status, 0);
});
