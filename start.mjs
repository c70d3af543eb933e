// npm start: builds the package and runs the demo in this process. What the build's tools print is shown only where they
// fail: a newcomer wants to know that something happens, and for how long.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";

const [SAID_EVERY, SPINNER] = [4000, "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"];
const here = new URL("./", import.meta.url);
const { stdout } = process;

/** Runs `npm run build`; returns what it printed where it failed. */
async function build() {
  const begun = performance.now();
  const seconds = () => Math.round((performance.now() - begun) / 1000);
  const child = spawn("npm", ["run", "--silent", "build"], {
    cwd: here,
    // Windows runs npm through a file of commands.
    shell: process.platform === "win32",
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (data) => (printed += String(data)));
  let turn = 0;
  const tick = () => {
    if (stdout.isTTY)
      stdout.write(`\r${SPINNER[turn++ % SPINNER.length]} building, ${seconds()} s `);
    else stdout.write(`building, ${seconds()} s\n`);
  };
  const timer = setInterval(tick, stdout.isTTY ? 100 : SAID_EVERY);
  const code = await new Promise((resolve) => {
    child.on("error", (error) => ((printed += error.message), resolve(1)));
    child.on("close", resolve);
  });
  clearInterval(timer);
  if (stdout.isTTY) stdout.write("\r\x1b[K");
  if (code !== 0) return printed;
  stdout.write(`Built in ${seconds()} s.\n`);
  return undefined;
}

function fail(reason) {
  process.stderr.write(`fedflat: ${reason}\n`);
  process.exitCode = 1;
}

async function main() {
  if (!existsSync(new URL("node_modules/", here)))
    return fail("node_modules is not there; npm ci makes it.");
  stdout.write("Building fedflat, about 20 seconds.\nThe demo takes two minutes after that.\n");
  const trouble = await build();
  if (trouble !== undefined) {
    process.stderr.write(trouble);
    return fail("the build has failed.");
  }
  process.argv.splice(1, 1, "dist/cli/main.js", "demo");
  await import("./dist/cli/main.js");
}

await main();
