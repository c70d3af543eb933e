import { random } from "../../runtime/tensors/random.js";
import { crashesOf, MODES, nameOf, survives, undisturbed, type Crash } from "./crash-points.js";
import { survivesKills } from "./kills.js";

// npm run crash [-- PAIRS]: every crash point of a federation of ten rounds in each mode, and so
// many seeded pairs of crashes, the second one in the life after the first. Ends with 1 where the
// run after a crash differs from the undisturbed one.
const pairs = Number(process.argv[2] ?? 500);
const failed: string[] = [];

for (const [mode, settings] of Object.entries(MODES)) {
  const expected = await undisturbed(settings);
  const single = crashesOf(expected.calls);
  const chance = random("pairs of crashes");
  const double = Array.from({ length: pairs }, (): Crash => {
    const first = single[chance.integer(single.length)];
    const again = single[chance.integer(single.length)];
    // Most second crashes while the server starts, which is where a restart does its work.
    const call = again.call % (chance.next() < 0.5 ? 40 : 200);
    return { ...first, again: { ...again, call } };
  });
  const crashes = [...single, ...double];
  const before = failed.length;
  let done = 0;
  for (const crash of crashes) {
    try {
      await survives(crash, expected.outcome, settings);
    } catch (error) {
      const what = `${mode}: ${nameOf(crash)} (${expected.calls[crash.call]})`;
      failed.push(what);
      console.error(`${what}: ${error instanceof Error ? error.message : error}`);
    }
    if (++done % 200 === 0) console.error(`${done} of ${crashes.length}`);
  }
  console.log(
    `${mode}: ${expected.calls.length} persistence calls, ${single.length} crashes and ${pairs} pairs: ${failed.length - before} ended otherwise than the undisturbed run`,
  );
}
for (const [mode, settings] of Object.entries(MODES))
  try {
    await survivesKills(20, "nightly", settings);
    console.log(`${mode}: 20 real kills: the run ended like the undisturbed one`);
  } catch (error) {
    console.error(error);
    failed.push(`${mode}: kills`);
  }
process.exit(failed.length === 0 ? 0 : 1);
