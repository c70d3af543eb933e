import { execFileSync } from "node:child_process";
import { repository } from "../command.js";

/** Keras asks for a backend, which none of its own has to be. */
const env = { KERAS_BACKEND: "jax", ...process.env };

/**
 * A Python that runs this statement, such as an import: the one that FEDFLAT_PYTHON names, else
 * Debian's. Nothing where neither does.
 */
export function pythonThatRuns(statement: string): string | undefined {
  const named = process.env["FEDFLAT_PYTHON"];
  return [...(named ? [named] : []), "/usr/bin/python3"].find((python) => {
    try {
      execFileSync(python, ["-c", statement], { env, stdio: "ignore" });
      return true;
    } catch {
      return false;
    }
  });
}

/** Runs one of the programs beside the tests. */
export function runPython(python: string, program: string, ...args: readonly string[]): void {
  execFileSync(python, [repository(`test/cli/interchange/${program}`), ...args], {
    env,
    stdio: ["ignore", "ignore", "pipe"],
  });
}
