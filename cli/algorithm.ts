import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import * as v from "valibot";
import type { Algorithm } from "../runtime/algorithms/algorithm.js";
import { ConfigError } from "../runtime/errors.js";

/**
 * Whether `--algorithm` names a file of the user's own: something with a slash, or a JavaScript
 * module.
 */
export const isAlgorithmFile = (name: string): boolean => /[\\/]|\.m?js$/.test(name);

const names = v.array(
  v.pipe(v.string(), v.regex(/^[a-zA-Z][a-zA-Z0-9]*$/)),
  "a list of names of letters and digits",
);
const callable = v.function("a function");

const form = v.object(
  {
    name: v.pipe(
      v.string("a name"),
      v.regex(/^[a-z][a-z0-9-]{0,62}$/, "a name of small letters and digits"),
    ),
    source: v.string("a text"),
    defaults: v.record(
      v.string(),
      v.pipe(v.number("numbers"), v.finite("finite numbers")),
      "an object of numbers",
    ),
    client: v.object(
      {
        state: names,
        receives: names,
        sends: names,
        objective: callable,
        update: callable,
        nextState: v.optional(callable),
        personal: v.optional(callable),
      },
      "an object with state, receives, sends, objective and update",
    ),
    server: v.object(
      {
        folds: v.record(
          v.string(),
          v.picklist(["samples", "uniform"], `"samples" or "uniform"`),
          "an object with the weighting of each vector sent",
        ),
        state: v.record(v.string(), callable, "an object with the first value of each vector kept"),
        broadcast: v.optional(callable),
        finish: callable,
      },
      "an object with folds, state and finish",
    ),
  },
  "an algorithm as the default export (docs/adding-an-algorithm.md)",
);

/**
 * The algorithm that a file has as its default export; nothing where the name is no file but that
 * of a built-in one.
 * @throws ConfigError `algorithm-file` with the field that is wrong.
 */
export async function ownAlgorithm(name: string): Promise<Algorithm | undefined> {
  if (!isAlgorithmFile(name)) return undefined;
  const refuse = (field: string, expected: string, got: string): never => {
    throw new ConfigError(
      "algorithm-file",
      `"${field}" in "${name}" expected ${expected}, got ${got}`,
    );
  };
  let module: { readonly default?: unknown };
  try {
    module = await import(pathToFileURL(resolve(name)).href);
  } catch (error) {
    return refuse(
      "--algorithm",
      "a JavaScript module that loads",
      (error as Error).message.split("\n")[0],
    );
  }
  const checked = v.safeParse(form, module.default, { abortEarly: true });
  if (!checked.success) {
    const [issue] = checked.issues;
    const path = (issue.path ?? []).map(({ key }) => String(key)).join(".");
    const got = typeof issue.input === "function" ? "a function" : JSON.stringify(issue.input);
    return refuse(path || "default", issue.message, got ?? "nothing");
  }
  // Its fields are of the right kinds; what its functions do shows when they run.
  const algorithm = module.default as Algorithm;
  const { client, server } = algorithm;
  for (const sent of client.sends)
    if (!Object.hasOwn(server.folds, sent))
      refuse("server.folds", `a weighting of "${sent}", which is sent`, "none");
  if (client.state.length > 0 && client.nextState === undefined)
    refuse("client.nextState", `a function that gives ${client.state.join(", ")}`, "nothing");
  if (client.personal !== undefined && !client.state.includes("personal"))
    refuse("client.state", `"personal" beside client.personal`, client.state.join(", ") || "none");
  if (client.receives.length > 0 && server.broadcast === undefined)
    refuse("server.broadcast", `a function that gives ${client.receives.join(", ")}`, "nothing");
  return algorithm;
}
