import assert from "node:assert/strict";
import { test } from "node:test";
import type { WebSocket } from "ws";
import { Pace, TURN } from "../../../aggregator/sessions/fair-scheduling.js";

/** As much of a WebSocket as is paced. */
class Connection {
  read = true;
  pause = () => void (this.read = false);
  resume = () => void (this.read = true);
}

const busy = () => {
  const end = performance.now() + TURN + 1;
  while (performance.now() < end);
};

test("what there is no time for in a turn is done in later ones, in its order, and its connection is not read meanwhile", async () => {
  const pace = new Pace();
  const connections = [new Connection(), new Connection(), new Connection()];
  const paced = connections.map((connection) =>
    pace.connection(connection as unknown as WebSocket),
  );
  const done: string[] = [];
  const work = (name: string) => () => {
    done.push(name);
    busy();
  };
  paced[0].frame(work("a1"));
  for (const [i, line] of ["a", "b", "c"].entries()) paced[i].frame(work(`${line}2`));
  paced[1].frame(work("b3"));
  const ended = new Promise<void>((resolve) =>
    paced[1].end(() => {
      done.push("b's end");
      resolve();
    }),
  );
  assert.deepEqual(done, ["a1"]);
  assert.deepEqual(
    connections.map(({ read }) => read),
    [false, false, false],
  );
  // One frame that takes all of a turn is done in each.
  const turns: number[] = [];
  for (let turn = 0; turn < 3; turn++) {
    await new Promise(setImmediate);
    turns.push(done.length);
  }
  assert.ok(turns.every((count, turn) => count <= turn + 2));
  await ended;
  assert.deepEqual(done, ["a1", "a2", "b2", "c2", "b3", "b's end"]);
  assert.deepEqual(
    connections.map(({ read }) => read),
    [true, true, true],
  );
});
