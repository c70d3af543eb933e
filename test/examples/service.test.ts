import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { parse } from "yaml";
import { repository, run } from "../cli/command.js";

test("the container's, the compose file's and the unit's flags are flags of serve", async () => {
  const { stdout } = await run("serve", "--help");
  const known = new Set(stdout.match(/--[a-z-]+/g));
  const read = (name: string) => readFile(repository(`examples/service/${name}`), "utf8");
  const compose = parse(await read("compose.yaml")) as {
    services: { aggregator: { command: string[]; volumes: string[] } };
  };
  const { command } = compose.services.aggregator;
  const [, entry] = /^ENTRYPOINT (\[.*\])$/m.exec(await read("Dockerfile"))!;
  const [, unit] = /^ExecStart=(.*)$/m.exec(await read("fedflat.service"))!;
  const container = JSON.parse(entry) as string[];
  assert.deepEqual(container.slice(0, 2), ["fedflat", "serve"]);
  const used = [...container, ...command, ...unit.split(" ")]
    .filter((word) => word.startsWith("--"))
    .map((word) => word.split("=")[0]);
  assert.deepEqual(
    used.filter((flag) => !known.has(flag)),
    [],
  );
  for (const flag of ["--tls-cert", "--tls-key", "--keys", "--public-name"])
    assert.ok(used.includes(flag), flag);
});
