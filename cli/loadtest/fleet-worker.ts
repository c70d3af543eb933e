import { parentPort, workerData } from "node:worker_threads";
import { startFleet, type FleetOptions } from "./fleet.js";

// The thread of fleet-in-worker.ts.

/** How often the recording is told, in milliseconds. */
const TELL = 250;

const port = parentPort!;
const fleet = startFleet(workerData as FleetOptions);
const tell = () => port.postMessage(fleet.recording);
const telling = setInterval(tell, TELL);
port.on("message", () => fleet.stop());
await fleet.done;
clearInterval(telling);
tell();
port.close();
