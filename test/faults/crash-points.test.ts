import assert from "node:assert/strict";
import { before, test } from "node:test";
import { random } from "../../runtime/tensors/random.js";
import { crashesOf, MODES, nameOf, survives, undisturbed, type Crash } from "./crash-points.js";

// `npm run crash` goes through all of them; here is a sample that the seed decides.
const SAMPLE = Number(process.env["FEDFLAT_CRASHES"] ?? 40);

for (const [mode, settings] of Object.entries(MODES)) {
  const sample = mode === "synchronous" ? SAMPLE : Math.ceil(SAMPLE / 2);
  let expected: Awaited<ReturnType<typeof undisturbed>>;
  before(async () => {
    expected = await undisturbed(settings);
  });

  test(`${mode}: the undisturbed run commits ten rounds and is the same each time`, async () => {
    assert.equal(expected.outcome.rounds.length, 11);
    assert.deepEqual(await undisturbed(settings), expected);
  });

  test(`${mode}: crashes at persistence calls: nothing lost, nothing counted twice, the same model`, async () => {
    const crashes = crashesOf(expected.calls);
    assert.ok(crashes.length > 500);
    const order = random("crashes").shuffle(Uint32Array.from(crashes.keys()));
    for (const index of order.subarray(0, sample)) await holds(crashes[index]);
  });

  async function holds(crash: Crash): Promise<void> {
    try {
      await survives(crash, expected.outcome, settings);
    } catch (error) {
      throw new Error(`${nameOf(crash)} (${expected.calls[crash.call]})`, {
        cause: error,
      });
    }
  }
}
