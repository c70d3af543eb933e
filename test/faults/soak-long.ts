import { grown, soak } from "./soak.js";

// npm run soak [-- ROUNDS]: 10,000 short rounds of ten clients where not said. Ends with 1 where
// something grew.
const rounds = Number(process.argv[2] ?? 10_000);
const start = performance.now();
const footprints = await soak(rounds, 20, (footprint) => console.log(JSON.stringify(footprint)));
const growth = grown(footprints);
console.log(
  `${rounds} rounds in ${((performance.now() - start) / 1000).toFixed(0)} s: ${growth.join("; ") || "nothing grew"}`,
);
process.exit(growth.length === 0 ? 0 : 1);
