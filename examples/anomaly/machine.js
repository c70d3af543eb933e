// Writes what the sensors of a machine say, one row every 20 ms:   node machine.js FILE ROWS [FAULT]
// Vibration along two axes and a temperature; with FAULT a bearing knocks in the last tenth.
import { writeFileSync } from "node:fs";

const [file, rows, fault] = process.argv.slice(2);
if (file === undefined || !(Number(rows) > 0)) {
  console.error("usage: node machine.js FILE ROWS [FAULT]");
  process.exit(2);
}
const noise = () => Math.random() + Math.random() - 1;
const lines = Array.from({ length: Number(rows) }, (_, t) => {
  const knock = fault !== undefined && t > 0.9 * Number(rows) && t % 12 < 2 ? 2.5 : 0;
  const x = Math.sin(t / 3) + 0.1 * noise() + knock;
  const y = 0.6 * Math.cos(t / 3) + 0.1 * noise() - knock;
  return [x, y, 45 + 3 * Math.sin(t / 500) + 0.2 * noise()].map((n) => n.toFixed(4)).join(",");
});
writeFileSync(file, ["x,y,temperature", ...lines, ""].join("\n"));
