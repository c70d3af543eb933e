import { DECODERS, fuzz } from "./decoders.js";

// npm run fuzz [-- INPUTS [SEED]]: so many mutated inputs to each decoder, a million where not
// said.
const [inputs = "1000000", seed = String(Date.now())] = process.argv.slice(2);
console.log(`seed ${seed}`);
for (const decoder of DECODERS) {
  const start = performance.now();
  fuzz(decoder, Number(inputs), seed);
  const seconds = (performance.now() - start) / 1000;
  console.log(`${decoder.name}: ${inputs} inputs in ${seconds.toFixed(1)} s`);
}
