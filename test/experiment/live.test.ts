import assert from "node:assert/strict";
import { test } from "node:test";
import { statusLine } from "../../cli/experiment/live.js";

const status = {
  name: "fedspeed, zeta 0.15, split dirichlet:0.3, seed 3",
  round: 12,
  rounds: 36,
  doing: "model 31.2 %",
};

test("a run's line keeps to the terminal's columns: the bar gives way first, then the beginning of the name", () => {
  assert.equal(
    statusLine(120, status),
    `  ${"█".repeat(8)}${"░".repeat(16)}  12/36  ${status.name}  model 31.2 %`,
  );
  assert.equal(
    statusLine(72, status),
    "  ██░░░  12/36  …d, zeta 0.15, split dirichlet:0.3, seed 3  model 31.2 %",
  );
  assert.equal(statusLine(39, status), "  ██░░░  12/36  …, seed 3  model 31.2 %");
  for (const columns of [10, 20, 39, 79, 200])
    for (const round of [0, 36])
      assert.ok(statusLine(columns, { ...status, round }).length <= columns);
});
