import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestContext } from "node:test";
import { federation } from "../aggregator/run/federation.js";
import { loadModel } from "../../runtime/models/model.js";
import { smallModel } from "../bundle/local-round.js";

/** What a program says at its end: how its run went, or the error that ended it. */
export interface Said {
  readonly reason?: string;
  readonly model?: string;
  readonly label?: number;
  readonly code?: string;
  readonly message?: string;
}

/**
 * A user's program, the same for pages, workers, Node, Bun and Deno: takes part until the run ends,
 * predicts once, and posts what became of it. Its question mark and what follows is in its address
 * or its first argument.
 */
export const program = (client: string) => `
  import { FederatedClient } from "${client}";
  const query = globalThis.location?.search ?? process.argv[2];
  const { url, report } = Object.fromEntries(new URLSearchParams(query));
  const x = Float32Array.from({ length: 30 * 128 }, (_, i) => Math.sin(i));
  const y = Array.from({ length: 30 }, (_, i) => i % 3);
  async function takePart() {
    const client = new FederatedClient({ url, state: "state", data: { x, y } });
    const { reason, model } = await client.run();
    const [prediction] = await client.predict(x.subarray(0, 128));
    return { reason, model: model?.sha256, label: prediction.label };
  }
  takePart()
    .catch(({ code, message }) => ({ code, message }))
    .then((said) => fetch(report, { method: "POST", body: JSON.stringify(said) }));
`;

export interface Round {
  /** What the program is given. */
  readonly query: string;
  /** What it says at its end; rejects where its process ends without a word. */
  said(process?: Started): Promise<Said>;
  /** Asserts that the round was committed with the program's update and is known to the program. */
  assertCommitted(said: Said): Promise<void>;
}

/** A process with what it has printed. */
export interface Started {
  readonly process: ChildProcess;
  output(): string;
}

/** A real aggregator that wants one round of one client, and an address for the client's report. */
export async function oneRound(t: TestContext): Promise<Round> {
  const run = await federation({ rounds: 1, minimum: 1 }, { model: smallModel() });
  const committed: number[] = [];
  run.aggregator.on("round", ({ participants }) => committed.push(participants.length));
  let report!: (said: Said) => void;
  const reported = new Promise<Said>((resolve) => (report = resolve));
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    response.setHeader("access-control-allow-origin", "*");
    response.end();
    if (request.method === "POST") report(JSON.parse(Buffer.concat(chunks).toString()) as Said);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await run.end();
  });
  const { port } = server.address() as AddressInfo;
  const query = new URLSearchParams({ url: run.url, report: `http://127.0.0.1:${port}/` });
  return {
    query: `?${query}`,
    said: (started) =>
      Promise.race([
        reported,
        new Promise<never>((_, reject) =>
          started?.process.once("exit", (code) =>
            // What it has posted may still be on its way.
            setTimeout(
              () => reject(new Error(`it ended with ${code} and said:\n${started.output()}`)),
              1000,
            ),
          ),
        ),
      ]),
    async assertCommitted({ reason, model, label, ...error }) {
      assert.deepEqual(error, {});
      assert.equal(reason, "finished");
      assert.equal((await run.aggregator.done).rounds, 1);
      assert.deepEqual(committed, [1]);
      assert.equal(model, run.aggregator.model.sha256);
      assert.notDeepEqual(
        loadModel((await run.aggregator.done).model).weights,
        smallModel().weights,
      );
      assert.ok([0, 1, 2].includes(label!), String(label));
    },
  };
}
