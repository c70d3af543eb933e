// The whole federation on this machine: the aggregator in this process, the page on a development
// server, and one neighbour in Node, so that a single tab need not wait for another.
import { spawn } from "node:child_process";
import { createServer } from "vite";
import { url } from "./aggregator.js";

// The page reads this as import.meta.env.VITE_FEDFLAT_URL.
process.env.VITE_FEDFLAT_URL = url;
const server = await createServer({ server: { port: Number(process.env.PORT ?? 5173) } });
await server.listen();
console.log(`Open ${server.resolvedUrls.local[0]} in one tab or in several.`);

const neighbour = spawn(process.execPath, ["client.js"], {
  env: { ...process.env, FEDFLAT_URL: url, FEDFLAT_NAME: "neighbour" },
  stdio: "inherit",
});
// Ctrl-C reaches the neighbour by itself; a service that is stopped tells this process only.
process.once("SIGTERM", () => neighbour.kill());
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => void server.close());
