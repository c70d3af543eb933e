import { execFile } from "node:child_process";

// The bits of `vcgencmd get_throttled` that say how the board is now.
const UNDER_VOLTAGE = 1 << 0;
const SLOWED_DOWN = (1 << 1) | (1 << 2) | (1 << 3);

/**
 * Whether a board that gives this answer (`throttled=0x50005`) may train: true, or the reason why
 * not.
 */
export function mayTrain(answer) {
  const bits = Number(/^throttled=(0x[0-9a-f]+)/i.exec(answer)?.[1] ?? 0);
  if (bits & UNDER_VOLTAGE) return "the power supply is too weak";
  if (bits & SLOWED_DOWN) return "the board is too hot";
  return true;
}

const vcgencmd = (done) =>
  execFile("vcgencmd", ["get_throttled"], (error, stdout) =>
    // Another board, or no permission: nothing is known, and nothing held against it.
    done(error ? "" : stdout),
  );

/**
 * For a client's `available`, which may not wait: the board's newest answer, asked for every
 * `every` milliseconds.
 */
export function watchPower({ every = 10_000, ask = vcgencmd } = {}) {
  let newest = true;
  const look = () => ask((answer) => (newest = mayTrain(answer)));
  look();
  setInterval(look, every).unref();
  return () => newest;
}
