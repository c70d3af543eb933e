import { ModelError } from "../errors.js";
import type { Algorithm, NamedNumbers } from "./algorithm.js";
import { ditto } from "./ditto.js";
import { fedadagrad, serverAdagrad } from "./fedadagrad.js";
import { fedadam, serverAdam } from "./fedadam.js";
import { fedasam } from "./fedasam.js";
import { fedavg } from "./fedavg.js";
import { fedavgm, serverMomentum } from "./fedavgm.js";
import { feddc } from "./feddc.js";
import { feddyn } from "./feddyn.js";
import { fedprox } from "./fedprox.js";
import { fedsam } from "./fedsam.js";
import { fedspeed } from "./fedspeed.js";
import { fedyogi, serverYogi } from "./fedyogi.js";
import { memory } from "./memory.js";
import { residual } from "./residual.js";
import { scaffold } from "./scaffold.js";
import { withServerOptimizer } from "./server-optimizer.js";

/** The algorithms that come with the package, in the order in which help lists them. */
export const BUILT_IN: readonly Algorithm[] = [
  fedavg,
  fedprox,
  feddyn,
  scaffold,
  feddc,
  fedsam,
  fedasam,
  fedspeed,
  fedavgm,
  fedadam,
  fedyogi,
  fedadagrad,
  ditto,
  memory,
  residual,
];

const SERVER_OPTIMIZERS = [serverMomentum, serverAdam, serverYogi, serverAdagrad];

/**
 * The algorithm of that name among the built-in ones and `own`. `fedsam+fedadam` is the client half of one with the
 * server optimizer of the other.
 * @throws ModelError `unknown-algorithm`, or `server-optimizer` where the two do not go together.
 */
export function algorithmNamed(name: string, own: readonly Algorithm[] = []): Algorithm {
  const known = [...own, ...BUILT_IN];
  const found = known.find((algorithm) => algorithm.name === name);
  if (found !== undefined) return found;
  const [client, server] = name.split("+");
  const half = known.find((algorithm) => algorithm.name === client);
  const optimizer = SERVER_OPTIMIZERS.find(({ name }) => name === server);
  if (half !== undefined && optimizer !== undefined) return withServerOptimizer(half, optimizer);
  throw new ModelError(
    "unknown-algorithm",
    `"algorithm" expected one of ${known.map(({ name }) => name).join(", ")} (or a client+server pair such as fedsam+fedadam), got "${name}"`,
  );
}

/**
 * The algorithm's numbers, with its defaults where nothing is given.
 * @throws ModelError `algorithm-settings` for a name it does not have or a value that is not a finite number.
 */
export function algorithmSettings(algorithm: Algorithm, given: NamedNumbers): NamedNumbers {
  for (const [name, value] of Object.entries(given)) {
    if (!Object.hasOwn(algorithm.defaults, name))
      throw new ModelError(
        "algorithm-settings",
        `"${name}" expected one of ${Object.keys(algorithm.defaults).join(", ") || "no settings"} for ${algorithm.name}, got "${name}"`,
      );
    if (!Number.isFinite(value))
      throw new ModelError(
        "algorithm-settings",
        `"${name}" expected a finite number, got ${value}`,
      );
  }
  return { ...algorithm.defaults, ...given };
}
