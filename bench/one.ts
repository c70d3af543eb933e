import type { Compare } from "./comparison.js";

// The process of one comparison: prints one JSON object a line.
const { compare } = (await import(`./${process.argv[2]}.js`)) as {
  compare: Compare;
};
await compare((figure) => console.log(JSON.stringify(figure)));
process.exit(0);
