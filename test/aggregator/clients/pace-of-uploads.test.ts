import assert from "node:assert/strict";
import { mock, test } from "node:test";
import { openUploads } from "../../../aggregator/clients/uploads.js";
import type { Session } from "../../../aggregator/sessions/session.js";

// Who gives room up to whom, on a clock of the test's own.

const STALL = 10_000;
const DEADLINE = 600_000;
/** Bytes of an update: the budget has room for three. */
const BYTES = 300_000;

/** Lines of given paces that all have an update to send. */
function lab(test: { after(work: () => void): void }, due = DEADLINE) {
  let now = 0;
  const clock = mock.method(performance, "now", () => now);
  test.after(() => clock.mock.restore());
  const whole = new Map<string, number>();
  let evictions = 0;
  const uploads = openUploads({
    budgetBytes: 3 * BYTES,
    windowBytes: 2 ** 24,
    stall: STALL,
    minimumRate: 1024,
    arrived({ assignment }) {
      whole.set(assignment, now);
      uploads.release(assignment);
    },
    evicted: () => evictions++,
  });
  const lines: {
    readonly name: string;
    readonly pace: number;
    readonly session: Session;
    /** What it was granted, and what it has sent of that. */
    transfer: number;
    sent: number;
  }[] = [];
  let transfers = 0;
  return {
    whole,
    get evictions() {
      return evictions;
    },
    /** Bytes a second, or what decides them from the bytes that are left. */
    add(name: string, pace: number) {
      const line = { name, pace, transfer: 0, sent: 0, session: undefined as unknown as Session };
      const send = (message: { type: string; transfer?: number; offset?: number }) => {
        if (message.type === "grant")
          Object.assign(line, { transfer: message.transfer, sent: message.offset });
        if (message.type === "abort") line.transfer = 0;
      };
      // Of a session uploads use no more than this.
      line.session = { send, nextUpload: () => (transfers += 2) } as unknown as Session;
      lines.push(line);
      uploads.offer(line.session, { assignment: name, sha256: "", bytes: BYTES, due });
    },
    /** Lets time pass. */
    pass(seconds: number) {
      for (let i = 0; i < seconds; i++) {
        now += 1000;
        for (const line of lines) {
          if (line.transfer === 0 || whole.has(line.name)) continue;
          const length = Math.min(line.pace, BYTES - line.sent);
          const { transfer, sent: offset } = line;
          line.sent += length;
          uploads.chunk(line.session, { transfer, offset, bytes: new Uint8Array(length) });
        }
        uploads.sweep(now);
      }
    },
  };
}

test("uploads just above the least rate keep nobody waiting for longer than 30 seconds", (t) => {
  const run = lab(t);
  for (const name of ["slow 1", "slow 2", "slow 3"]) run.add(name, 1100);
  run.pass(60);
  for (const name of ["a", "b", "c", "d"]) run.add(name, BYTES);
  run.pass(30);
  assert.equal(run.whole.size, 4);
  // One gave way, and the others go on.
  assert.equal(run.evictions, 1);
});

test("where the slow wait too, they give way to one another and the honest are through", (t) => {
  const run = lab(t);
  for (let i = 0; i < 6; i++) run.add(`slow ${i}`, 1100);
  run.pass(5);
  run.add("honest", BYTES);
  // Three slow ones have room, three wait before it.
  run.pass(4 * 21);
  assert.ok(run.whole.has("honest"));
});

test("lines of one slow pace are all through in time: whoever is nearest to its end gets there", (t) => {
  // 60 seconds each, six at a budget of three.
  const run = lab(t);
  for (let i = 0; i < 6; i++) run.add(`line ${i}`, BYTES / 60);
  // 120 seconds, were nobody to give way; one place in three is tried by those who wait.
  run.pass(180);
  assert.equal(run.whole.size, 6);
});

test("one that cannot be whole in time gives way as soon as another waits", (t) => {
  const run = lab(t, 100_000);
  for (const name of ["1", "2", "3"]) run.add(name, 1100);
  run.pass(STALL / 1000 + 1);
  run.add("a", BYTES);
  run.pass(1);
  assert.ok(run.whole.has("a"));
});

test("while nobody waits, the slowest line has all the time there is", (t) => {
  const run = lab(t);
  run.add("slow", 600);
  run.pass(BYTES / 600);
  assert.equal(run.evictions, 0);
  assert.ok(run.whole.has("slow"));
});
