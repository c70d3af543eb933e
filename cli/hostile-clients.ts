import type { Aggregator } from "../aggregator/run/aggregator.js";
import type { Dataset } from "../runtime/data/dataset.js";
import { FedflatError } from "../runtime/errors.js";
import type { JobOptions, Trainer } from "../runtime/training/job.js";
import type { Attack } from "./attacks.js";

/** The clients of a simulation, of whom some are hostile. */
export interface HostileClients {
  /** The trainer for one client: of a hostile one its training gives what the attack makes. */
  trainerOf(client: string, trainer: Trainer): Trainer;
}

/** What the clients of one attempt have trained, as far as it is known. */
interface AttemptUnderAttack {
  /** Honest members of whom nothing has been heard yet. */
  readonly awaited: Set<string>;
  readonly updates: Map<string, Float32Array>;
  readonly hostile: number;
  /** Resolves when nobody is awaited any more. */
  readonly known: Promise<void>;
  readonly settle: (client: string) => void;
}

/**
 * Hostile clients know what the honest ones send: each waits until all of its round have trained,
 * or will not, and then sends what they have agreed upon.
 */
export function openHostileClients(
  aggregator: Aggregator,
  attack: Attack,
  hostile: ReadonlySet<string>,
): HostileClients {
  const poisoned = new Map<Dataset, Dataset>();
  let current: AttemptUnderAttack | undefined;

  aggregator.on("opened", ({ selected }) => {
    current = attemptOf(selected, hostile);
  });
  aggregator.on("missed", ({ client }) => current?.settle(client));

  const honest = (client: string, trainer: Trainer): Trainer => ({
    ...trainer,
    async train(job, options) {
      const attempt = current;
      try {
        const trained = await trainer.train(job, options);
        // The caller may give its memory away.
        attempt?.updates.set(client, trained.delta.slice());
        return trained;
      } finally {
        attempt?.settle(client);
      }
    },
  });

  const forging = (trainer: Trainer): Trainer => ({
    ...trainer,
    async train(job, options) {
      const attempt = current;
      const trained = await trainer.train(job, options);
      if (attempt === undefined) return trained;
      await untilCancelled(attempt.known, options);
      const updates = [...attempt.updates].sort(([a], [b]) => (a < b ? -1 : 1));
      if (updates.length === 0) return trained;
      const round = { honest: updates.map(([, delta]) => delta), hostile: attempt.hostile };
      return { ...trained, delta: attack.forge!({ ...round, strength: attack.strength }) };
    },
  });

  const poisoning = (trainer: Trainer, poison: (dataset: Dataset) => Dataset): Trainer => ({
    ...trainer,
    train(job, options) {
      const { dataset, rows } = job.part;
      const other = poisoned.get(dataset) ?? poison(dataset);
      poisoned.set(dataset, other);
      return trainer.train({ ...job, part: { dataset: other, rows } }, options);
    },
  });

  return {
    trainerOf(client, trainer) {
      if (attack.poison !== undefined)
        return hostile.has(client) ? poisoning(trainer, attack.poison) : trainer;
      if (attack.forge === undefined) return trainer;
      return hostile.has(client) ? forging(trainer) : honest(client, trainer);
    },
  };
}

function attemptOf(selected: readonly string[], hostile: ReadonlySet<string>): AttemptUnderAttack {
  const awaited = new Set(selected.filter((id) => !hostile.has(id)));
  let resolve!: () => void;
  const known = new Promise<void>((settle) => (resolve = settle));
  if (awaited.size === 0) resolve();
  return {
    awaited,
    known,
    updates: new Map(),
    hostile: selected.length - awaited.size,
    settle(client) {
      awaited.delete(client);
      if (awaited.size === 0) resolve();
    },
  };
}

/** The promise, or a rejection as that of a training that is called off. */
function untilCancelled(promise: Promise<void>, { signal }: JobOptions = {}): Promise<void> {
  const cancelled = new Promise<never>((_, reject) => {
    const end = () => reject(new FedflatError("cancelled", "the training was called off"));
    if (signal?.aborted) end();
    signal?.addEventListener("abort", end, { once: true });
  });
  return Promise.race([promise, cancelled]);
}
