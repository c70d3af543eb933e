import { readFileSync } from "node:fs";
import { gateway } from "./gateway.js";

const stop = new AbortController();
for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => stop.abort());

try {
  const settings = JSON.parse(readFileSync(process.argv[2] ?? "gateway.json", "utf8"));
  await gateway(settings, { signal: stop.signal });
  console.log("Stopped.");
} catch (error) {
  console.error(`gateway: ${error.message}`);
  process.exitCode = 1;
}
