import type { Algorithm, NamedNumbers } from "../../runtime/algorithms/algorithm.js";
import type { Codec } from "../../runtime/codecs/codec.js";
import { ConfigError } from "../../runtime/errors.js";
import { keepsSent } from "./client-state.js";

/** The largest step of the server with `sign` and a residual: a tenth of the mean of the updates. */
const SIGN_STEP = 0.1;

/**
 * Codecs that leave most of an update out do not go with every algorithm: what was learned by
 * running them on clients with different optima stands in docs/codecs.md.
 * @throws ConfigError `codec-pair`
 */
export function requirePair(
  { name, client }: Algorithm,
  { serverLearningRate, momentum = 0 }: NamedNumbers,
  codec: Codec,
  { fraction, scaled = 0 }: NamedNumbers,
): void {
  if (codec.coarse !== true) return;
  const refuse = (setting: string, expected: string, got: string): never => {
    throw new ConfigError("codec-pair", `"${setting}" expected ${expected}, got ${got}`);
  };
  const { feedback } = client;
  if (keepsSent(client) && feedback === undefined)
    refuse(
      "codec",
      `float32, float16, bfloat16 or int8 for ${name}, whose clients would remember the little that ${codec.name} sends and drift by it`,
      codec.name,
    );
  // Momentum makes a step of 1/(1 - momentum) times its size.
  const step = serverLearningRate === undefined ? 1 : serverLearningRate / (1 - momentum);
  const requireStep = (most: number) => {
    if (step > most)
      refuse(
        "serverLearningRate",
        `a server's step of at most ${most} with ${name} and ${codec.name}, which overshoots with a larger one`,
        String(step),
      );
  };
  if (codec.name === "randk") {
    if (scaled === 1 && feedback !== undefined)
      refuse("codecSettings.scaled", `0 for ${name}, which sends later what is left out`, "1");
    if (scaled === 0 && feedback !== "memory")
      refuse("algorithm", "memory with randk, or one without feedback beside scaled=1", name);
    return requireStep(fraction);
  }
  if (feedback === undefined)
    refuse(
      "algorithm",
      `memory (or residual) with ${codec.name}, so that what it leaves out is sent later`,
      name,
    );
  if (feedback === "residual") requireStep(codec.name === "sign" ? SIGN_STEP : 2 * fraction);
}
