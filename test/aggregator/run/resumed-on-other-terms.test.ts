import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { GivenSettings } from "../../../aggregator/settings.js";
import { federation } from "./federation.js";
import { sha256, type Message, type RawClient } from "./raw-client.js";

const BEGUN: GivenSettings = { algorithm: "scaffold", codec: "int8", learningRate: 0.1, gather: 1 };

const READS = { algorithms: ["scaffold"], codecs: ["float32", "int8", "float16"] };

/** What a client is answered that offers what it was given before the run was resumed so. */
async function answerAfter(changed: GivenSettings): Promise<[before: Message, answer: Message]> {
  const folder = await mkdtemp(join(tmpdir(), "fedflat-terms-"));
  try {
    const first = await federation(BEGUN, { folder });
    let client: RawClient;
    let before: Message;
    try {
      client = await first.client("a", READS);
      client.send({ type: "ready" });
      before = await client.next("assign");
    } finally {
      await first.end();
    }
    const second = await federation({ ...BEGUN, ...changed }, { folder, resume: true });
    try {
      const { assignment } = before;
      const update = new Uint8Array(1);
      const again = await second.client("a", {
        ...READS,
        run: client.welcome!["run"],
        pending: [{ assignment, sha256: sha256(update) }],
      });
      again.send({ type: "ready" });
      again.offer(assignment, update);
      const answer = await again.until("an answer", () =>
        again.messages.find(({ type }) => type === "refused"),
      );
      if (answer["code"] === "unknown-assignment")
        assert.notEqual((await again.next("assign"))["assignment"], assignment);
      return [before, answer];
    } finally {
      await second.end();
    }
  } finally {
    await rm(folder, { recursive: true });
  }
}

describe("an update that was kept while the run was interrupted", () => {
  test("is looked at where the run is resumed as it was", async () => {
    const [before, answer] = await answerAfter({ rounds: 3, deadline: 10_000 });
    assert.equal(before["codec"], "int8");
    assert.equal(answer["code"], "bytes");
  });

  const others: Readonly<Record<string, GivenSettings>> = {
    "another codec": { codec: "float16" },
    "a setting of the codec": { codecSettings: { block: 64 } },
    "another learning rate": { learningRate: 0.2 },
    "other local epochs": { localEpochs: 2 },
    "another grid": { maxAbs: 64 },
  };
  for (const [what, changed] of Object.entries(others))
    test(`is made again after a resume with ${what}, which would read it wrongly`, async () => {
      const [, answer] = await answerAfter(changed);
      assert.equal(answer["code"], "unknown-assignment");
    });
});
