import { random } from "../../runtime/params/random.js";
import {
  crashesOf,
  nameOf,
  survives,
  undisturbed,
  type Crash,
} from "./crash-points.js";
import { survivesKills } from "./kills.js";

// npm run crash [-- PAIRS]: every crash point of a federation of ten rounds, then so many seeded pairs of crashes, the second
// one in the life after the first. Ends with 1 where the run after a crash differs from the undisturbed one.
const pairs = Number(process.argv[2] ?? 500);
const expected = await undisturbed();
const single = crashesOf(expected.calls);
const chance = random("pairs of crashes");
const double = Array.from({ length: pairs }, (): Crash => {
  const first = single[chance.integer(single.length)];
  const again = single[chance.integer(single.length)];
  // Most second crashes while the server starts, which is where a restart does its work.
  const call = again.call % (chance.next() < 0.5 ? 40 : 200);
  return { ...first, again: { ...again, call } };
});

const failed: string[] = [];
let done = 0;
const crashes = [...single, ...double];
for (const crash of crashes) {
  try {
    await survives(crash, expected.outcome);
  } catch (error) {
    const what = `${nameOf(crash)} (${expected.calls[crash.call]})`;
    failed.push(what);
    console.error(`${what}: ${error instanceof Error ? error.message : error}`);
  }
  if (++done % 200 === 0) console.error(`${done} of ${crashes.length}`);
}
console.log(
  `${expected.calls.length} persistence calls, ${single.length} crashes and ${pairs} pairs: ${failed.length} ended otherwise than the undisturbed run`,
);
try {
  await survivesKills(20, "nightly");
  console.log("20 real kills: the run ended like the undisturbed one");
} catch (error) {
  console.error(error);
  failed.push("kills");
}
process.exit(failed.length === 0 ? 0 : 1);
