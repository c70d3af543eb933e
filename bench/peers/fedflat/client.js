import { readFileSync } from "node:fs";
import { FederatedClient } from "fedflat";

const [url, folder, name] = process.argv.slice(2);
const read = (half) => new Uint8Array(readFileSync(`${folder}/${name}.${half}`));
const client = new FederatedClient({
  url,
  state: `${folder}/state-${name}`,
  data: { x: read("x"), y: [...read("y")] },
  holdOut: 0,
});
await client.run();
