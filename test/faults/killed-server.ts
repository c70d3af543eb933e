import { Aggregator } from "../../aggregator/run/aggregator.js";
import { listen } from "../../aggregator/server/server.js";
import { stateFolder } from "../../aggregator/storage/run-folder.js";
import { nodeFiles, type FileLayer } from "../../runtime/platform/node-files.js";
import { fileLedger } from "../../aggregator/storage/files.js";
import type { GivenSettings } from "../../aggregator/settings.js";
import { LAB, labModel } from "./fixtures.js";
import { learningModel } from "./learning.js";
import { slowly } from "../until.js";

// killed-server.js FOLDER PORT CALL MODEL SETTINGS [HOST]: an aggregator that kills itself (SIGKILL) at
// its persistence call of that number; 0 for never. MODEL is lab or learning, SETTINGS are JSON.
// Prints its port when it listens, and ends when the run is finished.
const [folder, port, call, model, settings, host] = process.argv.slice(2);

let calls = 0;
function counted(): void {
  if (++calls === Number(call)) process.kill(process.pid, "SIGKILL");
}

/** Node's files; before each call that changes something the process may die. */
const files: FileLayer = {
  ...nodeFiles,
  async open(path, how) {
    counted();
    const file = await nodeFiles.open(path, how);
    return {
      async write(bytes) {
        counted();
        await file.write(bytes);
      },
      async truncate(length) {
        counted();
        await file.truncate(length);
      },
      async sync() {
        counted();
        await file.sync();
      },
      close: () => file.close(),
    };
  },
  async rename(from, to) {
    counted();
    await nodeFiles.rename(from, to);
  },
  async remove(path) {
    counted();
    await nodeFiles.remove(path);
  },
  async syncFolder(path) {
    counted();
    await nodeFiles.syncFolder(path);
  },
};

const aggregator = await Aggregator.open({
  model: model === "lab" ? labModel() : learningModel(),
  settings: { ...LAB, ...(JSON.parse(settings) as GivenSettings) },
  folder,
  ledger: fileLedger(stateFolder(folder), files),
});
const server = await listen(aggregator, {
  port: Number(port),
  // Clients that come through a proxy dial its port, to which their proofs are bound.
  ...(host !== undefined && { hosts: [host], openToAll: true }),
});
console.log(server.port);
const ending = await aggregator.done;
// The clients hear that it is finished before the connection closes.
await slowly(500);
await aggregator.stop();
await server.close();
process.exit(ending.reason === "finished" ? 0 : 1);
