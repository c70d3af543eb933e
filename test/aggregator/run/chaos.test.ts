import assert from "node:assert/strict";
import { test } from "node:test";
import type { RoundRecord } from "../../../aggregator/run/aggregator.js";
import { random } from "../../../runtime/tensors/random.js";
import { federation } from "./federation.js";
import { sha256, updateFor, type RawClient } from "./raw-client.js";
import { slowly } from "../../until.js";

/** What a client does with an assignment; most of them are honest. */
const MOODS = [
  "honest",
  "honest",
  "honest",
  "leaves before",
  "leaves in mid-upload",
  "leaves after",
  "sends NaN",
  "declines",
  "is slow",
] as const;

for (const seed of [1, 2, 3])
  test(`whatever clients do, rounds go on and each acknowledged update is in exactly one (seed ${seed})`, async () => {
    const CLIENTS = 8;
    const ROUNDS = 12;
    const f = await federation({
      rounds: ROUNDS,
      gather: CLIENTS,
      minimum: 3,
      fraction: 0.5,
      overSelection: 1.5,
      quorum: 0.5,
      deadline: 250,
      absence: 60,
      pause: 10,
      stall: 50,
      budgetBytes: 1,
      seed: String(seed),
    });
    const lines: RoundRecord[] = [];
    f.aggregator.on("round", (line) => lines.push(line));
    /** What each client was told: round and hash of every update acknowledged. */
    const acknowledged: { client: string; round: number; sha256: string }[] = [];

    async function live(index: number): Promise<void> {
      const chance = random("chaos", seed, index);
      const updates = new Map<string, Uint8Array>();
      let run: string | undefined;
      for (;;) {
        let client: RawClient | undefined;
        try {
          client = await f.client(`client ${index}`, {
            run,
            pending: [...updates].map(([assignment, bytes]) => ({
              assignment,
              sha256: sha256(bytes),
            })),
          });
          run = client.welcome!["run"];
          for (const [assignment, bytes] of updates) client.offer(assignment, bytes);
          client.send({ type: "ready" });
          for (;;) {
            const message = await client.next(
              "assign",
              "grant",
              "committed",
              "refused",
              "finished",
            );
            const { assignment } = message;
            if (message.type === "finished") return;
            if (message.type === "refused") updates.delete(assignment);
            if (message.type === "committed") {
              const update = updates.get(assignment);
              updates.delete(assignment);
              if (update !== undefined)
                acknowledged.push({
                  client: client.id,
                  round: message["round"],
                  sha256: sha256(update),
                });
            }
            if (message.type === "grant") {
              const update = updates.get(assignment);
              if (update === undefined) continue;
              if (chance.next() < 0.1) {
                const { transfer, offset } = message;
                client.sendChunk(transfer, offset, update.subarray(offset, offset + 40));
                throw new Error("left in mid-upload");
              }
              await client.upload(message, update, 60);
              if (chance.next() < 0.1) throw new Error("left after");
            }
            if (message.type === "assign") {
              if (updates.has(assignment)) {
                client.offer(assignment, updates.get(assignment)!);
                continue;
              }
              const mood = MOODS[chance.integer(MOODS.length)];
              if (mood === "leaves before") throw new Error(mood);
              if (mood === "declines") {
                client.send({ type: "decline", assignment, code: "busy" });
                continue;
              }
              if (mood === "is slow") await slowly(chance.integer(400));
              const model = await client.fetch(message["model"]);
              const value = mood === "sends NaN" ? NaN : chance.normal();
              const update = updateFor(model, () => value);
              updates.set(assignment, update);
              client.offer(assignment, update);
            }
          }
        } catch {
          client?.cut();
          await slowly(chance.integer(120));
        }
      }
    }

    const lives = Array.from({ length: CLIENTS }, (_, i) => live(i));
    try {
      const ending = await f.aggregator.done;
      assert.deepEqual([ending.reason, ending.rounds], ["finished", ROUNDS]);
      await Promise.all(lives);
      assert.deepEqual(
        lines.map(({ round }) => round),
        Array.from({ length: ROUNDS }, (_, i) => i + 1),
      );
      for (const { participants, updates } of lines) {
        assert.equal(new Set(participants).size, participants.length);
        assert.equal(updates.length, participants.length);
      }
      assert.ok(acknowledged.length >= ROUNDS);
      for (const { client, round, sha256 } of acknowledged) {
        const line = lines[round - 1];
        const at = line.participants.indexOf(client);
        assert.equal(line.updates[at], sha256);
      }
      const told = acknowledged.map(({ client, round }) => `${round} ${client}`);
      assert.equal(new Set(told).size, told.length);
    } finally {
      await f.end();
    }
  });
