import { readFileSync } from "node:fs";
import { WebSocketServer } from "ws";
import { images, initialWeights, logits, pack, tf, unpack } from "./model.js";

const [folder, clients, rounds, seed] = process.argv.slice(2);
const counts = [];
for (let k = 1; k <= clients; k++) counts.push(readFileSync(`${folder}/${k}.y`).length);
const total = counts.reduce((a, b) => a + b);
await tf.setBackend("wasm");

let model = pack(initialWeights(Number(seed)));
let round = 0;
let updates = [];
const sockets = [];
const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
server.on("listening", () => console.log(JSON.stringify({ port: server.address().port })));
server.on("connection", (socket) => {
  const index = sockets.push(socket) - 1;
  socket.binaryType = "arraybuffer";
  socket.on("message", (data) => {
    updates.push([new Float32Array(data), counts[index] / total]);
    if (updates.length === Number(clients)) finishRound();
  });
  if (sockets.length === Number(clients)) startRound();
});

function startRound() {
  for (const socket of sockets) socket.send(model);
}

function finishRound() {
  model = model.map((_, i) =>
    updates.reduce((sum, [weights, share]) => sum + share * weights[i], 0),
  );
  updates = [];
  console.log(JSON.stringify({ round: ++round }));
  if (round < rounds) return startRound();
  const y = readFileSync(`${folder}/test.y`);
  const guesses = tf.argMax(logits(images(readFileSync(`${folder}/test.x`)), unpack(model)), 1);
  const right = guesses.dataSync().filter((guess, i) => guess === y[i]).length;
  console.log(JSON.stringify({ accuracy: right / y.length }));
  process.exit();
}
