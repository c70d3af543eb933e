// Writes a MobileNetV2 that has learned to see, as TensorFlow.js' files, into backbone/. It lies in
// the npm package nsfwjs (MIT) as scripts; its own last layer is thrown away by `fedflat import`.
//   npm install --no-save nsfwjs@4.3.0 && node backbone.mjs
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const part = (name) => require(`./node_modules/nsfwjs/dist/models/mobilenet_v2/${name}.min.js`);

mkdirSync("backbone", { recursive: true });
writeFileSync("backbone/model.json", JSON.stringify(part("model")));
writeFileSync("backbone/group1-shard1of1", Buffer.from(part("group1-shard1of1"), "base64"));
