// The report of `npm test`: Node's own for a terminal, else TAP whose end names every failed test
// once more, since who reads a long log reads its last lines.
import { spec, tap } from "node:test/reporters";

/** TAP lines of a stream of test events; failures are told again before the plan and the sums. */
async function* tapWithFailures(events) {
  const failures = [];
  async function* watched() {
    for await (const event of events) {
      if (event.type === "test:fail" && !ofSubtests(event.data)) failures.push(event.data);
      yield event;
    }
  }
  for await (const lines of tap(watched())) {
    if (/^1\.\.\d/.test(lines)) yield failures.map(retold).join("");
    yield lines;
  }
}

const ofSubtests = (test) => test.details.error?.failureType === "subtestsFailed";

function retold({ name, file, line, details }) {
  const error = details.error?.cause ?? details.error;
  const reason = String(error?.stack ?? error?.message ?? error);
  const told = reason.split("\n").slice(0, 30);
  return [`failed: ${name}`, `  at ${file}:${line}`, ...told.map((text) => `  ${text}`)]
    .map((text) => `# ${text}\n`)
    .join("");
}

export default process.stdout.isTTY ? spec : tapWithFailures;
