import { parentPort, workerData } from "node:worker_threads";
import { startFleet, type FleetOptions } from "./fleet.js";
import { FIGURES } from "./recording.js";

// The thread of fleet-in-worker.ts.

/** How often the recording is told, in milliseconds. */
const TELL = 250;

const port = parentPort!;
const fleet = startFleet(workerData as FleetOptions);
/** Tells the counts, and the samples since it told them last. */
function tell(): void {
  port.postMessage(fleet.recording);
  for (const figure of FIGURES) fleet.recording.samples[figure].length = 0;
}
const telling = setInterval(tell, TELL);
port.on("message", () => fleet.stop());
await fleet.done;
clearInterval(telling);
tell();
port.close();
