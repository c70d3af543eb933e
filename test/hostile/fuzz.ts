import { DECODERS, fuzz } from "./decoders.js";
import { MODEL_READERS } from "./model-files.js";

// npm run fuzz [-- INPUTS [SEED [NAME]]]: so many mutated inputs to each decoder, or to those whose
// name has that text; a million where not said.
const [inputs = "1000000", seed = String(Date.now()), only = ""] = process.argv.slice(2);
console.log(`seed ${seed}`);
for (const decoder of [...DECODERS, ...MODEL_READERS]) {
  if (!decoder.name.includes(only)) continue;
  const start = performance.now();
  await fuzz(decoder, Number(inputs), seed);
  const seconds = (performance.now() - start) / 1000;
  console.log(`${decoder.name}: ${inputs} inputs in ${seconds.toFixed(1)} s`);
}
