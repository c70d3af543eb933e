import assert from "node:assert/strict";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { connectionsAllowed } from "../../aggregator/server/connection-limit.js";
import { RawClient, updateFor } from "../aggregator/run/raw-client.js";
import { startWithDescriptors } from "../cli/command.js";
import { flood } from "./sockets.js";

const skip = process.platform !== "linux" && "no limit is known here";

test(
  "a flood of connections to the limit of file descriptors: the health port answers, rounds complete, clients join",
  { skip },
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "fedflat-descriptors-"));
    const model = join(folder, "model.json");
    // Updates above 1 MB, so that the process has its folding worker too.
    await writeFile(model, '{"input":[600],"layers":[{"type":"dense","units":500}]}');
    const server = startWithDescriptors(
      128,
      ...["serve", "--model", model, "--rounds", "2", "--gather", "2"],
      ...["--normalise", "none"],
      ...["--over-selection", "1", "--evaluate-fraction", "0", "--json"],
      // However long it takes a busy machine to let the one back in that was cut off.
      ...["--absence", "120"],
      ...["--run", join(folder, "run"), "--port", "0", "--health-port", "0"],
    );
    let flooding: ReturnType<typeof flood> | undefined;
    const clients: RawClient[] = [];
    try {
      const [, line] = await server.until(/^(\{"event":"listening".*\})$/m);
      const { url, healthPort } = JSON.parse(line) as {
        url: string;
        healthPort: number;
      };
      const client = async (seed: string) => {
        const one = new RawClient({ url, seed });
        clients.push(one);
        await one.join();
        one.send({ type: "ready" });
        return one;
      };
      const health = async (path: string) => {
        const answer = await fetch(`http://127.0.0.1:${healthPort}${path}`);
        assert.equal(answer.status, 200, path);
        return answer.text();
      };
      const deliver = async (one: RawClient) => {
        const { assignment, model } = await one.next("assign");
        const bytes = await one.fetch(model);
        await one.deliver(
          assignment,
          updateFor(bytes, () => 0.5),
        );
      };
      const a = await client("a");
      let b = await client("b");
      const attack = (flooding = flood(url));
      while (attack.closed() < 200) await health("/livez");
      await health("/readyz");
      assert.match(await health("/metrics"), /fedflat_lines_ended_total\{why="full"\} \d\d/);
      await Promise.all([deliver(a), deliver(b)]);
      await Promise.all([a.next("committed"), b.next("committed")]);

      b.cut();
      // In the thick of it a newcomer may have to try more than once.
      for (let tries = 1; ; tries++)
        try {
          b = await client("b");
          break;
        } catch (error) {
          if (tries === 20) throw error;
        }
      assert.ok(attack.closed() > 200);
      attack.end();
      b.cut();
      b = await client("b");
      const work = (_: unknown, bytes: Uint8Array) => updateFor(bytes, () => 0.5);
      await Promise.all([a.work(work), b.work(work)]);
      for (const one of clients) one.cut();
      const { code, stderr } = await server.ended;
      assert.equal(code, 0, stderr);
    } finally {
      flooding?.end();
      for (const one of clients) one.cut();
      server.process.kill("SIGKILL");
      await rm(folder, { recursive: true, force: true });
    }
  },
);

test("connections leave file descriptors to the process; where there are too few it says so", () => {
  assert.deepEqual(connectionsAllowed(undefined, Infinity), {
    webSockets: 10_000,
    inAll: 10_064,
  });
  assert.deepEqual(connectionsAllowed(undefined, 1024), {
    webSockets: 896,
    inAll: 960,
  });
  assert.deepEqual(connectionsAllowed(20_000, 1024).webSockets, 896);
  assert.deepEqual(connectionsAllowed(undefined, 128), {
    webSockets: 48,
    inAll: 64,
  });
  assert.throws(() => connectionsAllowed(undefined, 64), {
    code: "file-descriptors",
    message: `"ulimit -n" expected at least 80 file descriptors, got 64`,
  });
});
