import type { Device, Participation } from "./client/context.js";
import { clientEvents } from "./client/events.js";
import { modelCache } from "./client/model-cache.js";
import type {
  ClientEvents,
  ClientOptions,
  Inputs,
  Outcome,
  Personalised,
  PersonaliseOptions,
  Prediction,
} from "./client/options.js";
import { takePart } from "./client/participation.js";
import { tunedIn, withPersonal } from "./client/personal.js";
import { personalise } from "./client/personalise.js";
import { predictorOf } from "./client/predictor.js";
import { timeLimitOf } from "./client/time-limit.js";
import { workersOf } from "./client/workers.js";
import { scaleRemark } from "./data/scale.js";
import { ConfigError, ProtocolError } from "./errors.js";
import type { Platform } from "./platform/platform.js";
import { HOLD_OUT } from "./training/batches.js";

export type * from "./client/options.js";

/**
 * A device's part in a federation: joins a run, trains when asked, keeps what it has finished until
 * it is committed, and reconnects until the run ends or `stop` is called. The package's entries
 * bind it to Node and to the browser.
 */
export class FederatedClient {
  readonly #device: Device;
  #running?: Promise<Outcome>;
  #stop = new AbortController();
  #part?: Participation;

  /** @throws ConfigError `url`, `hold-out` */
  constructor(options: ClientOptions, platform: Platform) {
    checkOptions(options);
    const events = clientEvents();
    const { modelBytes, seconds } = options.limits ?? {};
    const models = modelCache(
      async (blob, sink, cut) => {
        if (this.#part === undefined)
          throw new ProtocolError(
            "cancelled",
            "the client is not connected: run() is not under way",
          );
        await this.#part.connection.fetch(blob, sink, cut?.signal, cut?.window);
      },
      modelBytes,
      () => this.#part?.store,
    );
    const workers = workersOf(options.trainer, () => platform.startWorker());
    const predictor = predictorOf(
      ...([models, workers, events] as const),
      (model) => withPersonal(model, () => this.#part?.session?.records.state()),
      (model) => tunedIn(this.#part?.store, model),
    );
    let remarked = false;
    this.#device = {
      options,
      platform,
      events,
      models,
      workers,
      predictor,
      timeLimit: timeLimitOf(seconds),
      noteScale(dataset, { normalisation }) {
        if (remarked || !events.hears("notice")) return;
        const message = scaleRemark(dataset, normalisation);
        if (message === undefined) return;
        remarked = true;
        events.emit("notice", { message });
      },
    };
  }

  /** Calls `listener` on each such event; the function returned ends that. */
  on<E extends keyof ClientEvents>(
    event: E,
    listener: (event: ClientEvents[E]) => void,
  ): () => void {
    return this.#device.events.on(event, listener);
  }

  /**
   * Takes part until the run ends, `stop` is called, or the aggregator sends the client away.
   * @throws ConfigError `running`, `state-locked`, `state-unusable`, `key-unreadable`,
   * `worker-unusable`
   */
  run(): Promise<Outcome> {
    if (this.#running !== undefined)
      return Promise.reject(new ConfigError("running", "run() is already running"));
    const { workers } = this.#device;
    const stop = new AbortController();
    this.#stop = stop;
    workers.update({ running: true });
    this.#running = takePart(this.#device, stop.signal, (part) => (this.#part = part)).finally(
      () => {
        stop.abort();
        this.#running = undefined;
        this.#part = undefined;
        workers.update({ running: false });
      },
    );
    return this.#running;
  }

  /**
   * Leaves the run: training ends at the next batch, with `force` at once. Finished updates stay in
   * the store, and are offered again by the next `run`. Resolves when `run` has.
   */
  async stop({ force = false }: { force?: boolean } = {}): Promise<void> {
    const running = this.#running;
    if (running === undefined) return;
    this.#stop.abort();
    const task = this.#part?.task;
    task?.controller.abort();
    if (force) this.#device.workers.kill();
    else await task?.done;
    this.#part?.connection.close("stopped");
    await running.catch(() => {});
  }

  /**
   * Predicts with the newest committed model; `x` as in `data`, one or more examples. Works also
   * while a round is being trained, in another worker.
   * @throws ModelError `no-model` before the first one is known, `shape`
   */
  predict(x: Inputs): Promise<Prediction[]> {
    return this.#device.predictor.predict(x);
  }

  /**
   * Fine-tunes the newest global model on the device's own training examples, and tells what the
   * two are worth on those held out. `predict` uses the personal model, also after a restart, until
   * a newer global one is committed or `personalise({ epochs: 0 })` drops it. May be called during
   * a run and after it; another call begins with the global model again.
   * @throws ConfigError `personalise`, and as `run` where no run is under way; ModelError
   * `no-model`, `diverged`; DataError where the examples do not fit
   */
  personalise(options: PersonaliseOptions = {}): Promise<Personalised> {
    return personalise(this.#device, this.#part, options);
  }
}

function checkOptions({ url, holdOut = HOLD_OUT }: ClientOptions): void {
  let protocol = "";
  try {
    protocol = new URL(url).protocol;
  } catch {
    // Reported below.
  }
  if (protocol !== "ws:" && protocol !== "wss:")
    throw new ConfigError(
      "url",
      `"url" expected an address that begins with ws:// or wss://, got ${url}`,
    );
  if (!(holdOut >= 0 && holdOut < 1))
    throw new ConfigError(
      "hold-out",
      `"holdOut" expected a share from 0 to below 1, got ${holdOut}`,
    );
}
