import assert from "node:assert/strict";
import { test } from "node:test";
import { serial } from "../runtime/serial.js";

test("tasks run one after the other, whatever becomes of those before them", async () => {
  const queue = serial();
  const seen: string[] = [];
  let open = () => {};
  const gate = new Promise<void>((resolve) => (open = resolve));
  const first = queue.run(async () => {
    seen.push("first");
    await gate;
    throw new Error("first");
  });
  const second = queue.run(() => {
    seen.push("second");
    throw new Error("second");
  });
  const third = queue.run(() => seen.push("third"));
  await Promise.resolve();
  assert.deepEqual(seen, ["first"]);
  open();
  await assert.rejects(first, { message: "first" });
  await assert.rejects(second, { message: "second" });
  assert.equal(await third, 3);
  assert.deepEqual(seen, ["first", "second", "third"]);
});

test("a queue is idle once the last of its tasks has ended, also in failure", async () => {
  const queue = serial();
  await queue.idle();
  let done = false;
  const failing = queue.run(async () => {
    await Promise.resolve();
    done = true;
    throw new Error("no");
  });
  const failed = assert.rejects(failing);
  await queue.idle();
  assert.ok(done);
  await failed;
});
