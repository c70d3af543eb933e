// How these files were made, with the packages of 0.1.0: node make.mjs PATH_OF_ITS_cli/main.js
// in an empty folder. The keys are of two clients that were made up here.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";

const [main] = process.argv.slice(2);
let state = 3;
const chance = () => (state = (state * 48271) % 2147483647) / 2147483647;
const rows = Array.from({ length: 60 }, (_, i) => {
  const kind = i % 3;
  const values = [kind + chance(), 2 - kind + chance(), chance(), kind * chance()];
  return [...values.map((value) => value.toFixed(2)), ["red", "green", "blue"][kind]].join();
});
writeFileSync("data.csv", ["a,b,c,d,label", ...rows, ""].join("\n"));
writeFileSync("token", "token-of-old-times\n");
const layers = [
  { type: "dense", units: 8, activation: "relu" },
  { type: "dense", units: 3 },
];
const classes = ["red", "green", "blue"];
writeFileSync(
  "model.json",
  JSON.stringify({ description: { input: [4], layers }, classes, columns: ["a", "b", "c", "d"] }),
);

const fedflat = (...argv) =>
  spawn(process.execPath, [main, ...argv, "--json", "--token-file", "token"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
const server = fedflat(
  ...["serve", "--model", "model.json", "--algorithm", "feddyn", "--rounds", "40"],
  ...["--gather", "2", "--minimum", "2", "--local-epochs", "1", "--batch-size", "8"],
  ...["--run", "run", "--port", "0"],
);
const clients = [];
server.stdout.on("data", (data) => {
  for (const line of String(data).trim().split("\n")) {
    const { event, url, round } = JSON.parse(line);
    if (event === "listening")
      for (const k of [1, 2]) {
        const part = ["--data", "data.csv", "--split", "iid", "--part", `${k}/2`];
        const client = fedflat("join", "--url", url, ...part, "--state", `client-${k}`);
        client.stdout.resume();
        clients.push(client);
      }
    if (event === "round" && round >= 3) server.kill("SIGTERM");
  }
});
server.on("close", () => clients.forEach((client) => client.kill("SIGTERM")));
