import type { Compare } from "./comparison.js";

// The process of one comparison, or of one part of it: prints one JSON object a line. With
// `--parts`: the names of its parts.
const [name, part] = process.argv.slice(2);
const { compare, parts = [""] } = (await import(`./${name}.js`)) as {
  compare: Compare;
  parts?: readonly string[];
};
if (part === "--parts") console.log(JSON.stringify(parts));
else await compare((figure) => console.log(JSON.stringify(figure)), part);
process.exit(0);
