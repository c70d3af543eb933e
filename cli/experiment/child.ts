import { writeFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";

// Loaded by `node --import` into every command that an experiment starts (see command.ts): the
// command dies with the experiment, so that nothing is left training in a folder that the next one
// takes up, and it leaves its CPU seconds.
const file = process.env["FEDFLAT_CPU_FILE"];

if (isMainThread && file !== undefined) {
  const note = () => {
    const { user, system } = process.cpuUsage();
    try {
      writeFileSync(file, String((user + system) / 1e6));
    } catch {
      // Without the folder there is nothing to note.
    }
  };
  process.on("disconnect", () => process.exit(143));
  process.on("exit", note);
  // A kill gives no time to note anything.
  setInterval(note, 5000).unref();
  process.channel?.unref();
}
