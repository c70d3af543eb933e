import assert from "node:assert/strict";
import { test } from "node:test";
import { shaped } from "../../cli/loadtest/shaped-socket.js";
import type { Socket } from "../../runtime/platform/platform.js";
import { until } from "../until.js";

const pause = (milliseconds: number) => {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
};

test("frames keep their order on a slow line, also where the process is busy between them", async () => {
  const sent: unknown[] = [];
  const line: Socket = {
    bufferedAmount: 0,
    send: (data) => sent.push(data),
    close: () => {},
  };
  // The first two frames, one each way, take longest; none may overtake them.
  let drawn = 0;
  const socket = shaped(() => line, {
    upload: 0,
    download: 0,
    latency: () => (drawn++ < 2 ? 60 : 1),
  })("ws://nowhere", {});
  const received: unknown[] = [];
  socket.onMessage = (data) => received.push(data);
  // Others wait too: Node runs all timers of one length that are due together.
  for (let length = 1; length <= 60; length++) setTimeout(() => {}, length);
  const frames = Array.from({ length: 60 }, (_, i) => `frame ${i}`);
  for (const frame of frames) {
    socket.send(frame);
    line.onMessage!(frame);
    pause(0.7);
  }
  pause(60);
  await until(() => sent.length === 60 && received.length === 60);
  assert.deepEqual(sent, frames);
  assert.deepEqual(received, frames);
});
