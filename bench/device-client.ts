// A device of the bench and of the memory budget: one real client in a process of its own, on noise
// for data, with nothing but the Node bundle. Arguments: the aggregator's address, a state folder,
// the shape of an example, classes, samples. It takes part until the run is finished and prints
// what it cost.
interface Told {
  readonly what: string;
}
interface Client {
  on(event: "progress" | "assignment", listener: (told: Told) => void): void;
  run(): Promise<{ reason: string }>;
}

const [url, state, shape, classes, samples] = process.argv.slice(2);
const { FederatedClient } = (await import(new URL("../client-node.js", import.meta.url).href)) as {
  FederatedClient: new (options: unknown) => Client;
};

const count = Number(samples);
const size = shape.split("x").reduce((all, one) => all * Number(one), count);
const x = Float32Array.from({ length: size }, (_, i) => Math.sin(i * 0.7));
const y = Int32Array.from({ length: count }, (_, i) => i % Number(classes));

const client = new FederatedClient({ url, state, data: { x, y }, holdOut: 0 });
let firstStep: number | undefined;
let cpuBefore: NodeJS.CpuUsage | undefined;
let cpu: NodeJS.CpuUsage | undefined;
// The clock of performance.now starts with the process.
client.on("progress", () => {
  firstStep ??= performance.now();
});
client.on("assignment", ({ what }) => {
  if (what === "accepted") cpuBefore = process.cpuUsage();
  if (what === "offered") cpu = process.cpuUsage(cpuBefore);
});
const { reason } = await client.run();
console.log(
  JSON.stringify({
    reason,
    firstStepMilliseconds: firstStep,
    // Of the last round: the first one compiles.
    cpuSecondsOfRound: cpu && (cpu.user + cpu.system) / 1e6,
    peakMegabytes: process.resourceUsage().maxRSS / 1024,
  }),
);
process.exit(0);
