import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { plain } from "../../aggregator/aggregation/arithmetic.js";
import { firstCheckpoint, openReducer } from "../../aggregator/aggregation/reducer.js";
import { stateGrid } from "../../aggregator/aggregation/weighted-mean.js";
import { requirePair } from "../../aggregator/run/codec-pairs.js";
import type { Algorithm, NamedNumbers, State } from "../../runtime/algorithms/algorithm.js";
import { algorithmNamed, algorithmSettings, BUILT_IN } from "../../runtime/algorithms/built-in.js";
import { CODECS, codecSettings } from "../../runtime/codecs/built-in.js";
import type { Codec } from "../../runtime/codecs/codec.js";
import { initialWeights } from "../../runtime/models/initial.js";
import { MODEL, readBlob } from "../../runtime/tensors/blob.js";
import { random } from "../../runtime/tensors/random.js";
import { readSafetensors } from "../../runtime/tensors/safetensors.js";
import type { Trainer } from "../../runtime/training/job.js";
import { trainRound } from "../../runtime/training/train-round.js";
import { updateForm } from "../../runtime/training/transmission.js";
import { SUMS, steps, totalSteps } from "../algorithms/exact.js";
import { clientsOf, description, network, settings } from "../algorithms/rounds-in-process.js";
import { labTrainer } from "../faults/fixtures.js";

// Every algorithm with every codec: a pair is refused with its reason, or its server's sums are those of the
// clients' states, to the bit, whatever came late, was refused or belonged to an abandoned attempt.

const { layout } = network;
const MAX_ABS = 1024;
const parts = clientsOf([9, 4, 12, 7]);
const meanSamples = 8;
const algorithms = [...BUILT_IN, algorithmNamed("fedsam+fedadam")];

/** Gives float32 deltas of any scale from 1e-6 to 1; nothing about them is round. */
const wildTrainer: Trainer = {
  ...labTrainer,
  async train(job, options) {
    const { metrics } = await labTrainer.train(job, options);
    const chance = random("wild", job.settings.seed);
    const scale = 10 ** (6 * chance.next() - 6);
    return { delta: job.weights.map(() => scale * chance.normal()), metrics };
  },
};

/** What becomes of a client's update in a round. */
type Fate = "counted" | "late" | "refused" | "abandoned";

/** A run of rounds, in which the updates of clients arrive in this order and have these fates. */
async function play(
  algorithm: Algorithm,
  codec: Codec,
  given: NamedNumbers,
  rounds: readonly (readonly (readonly [client: number, fate: Fate])[])[],
) {
  const { client } = algorithm;
  const choice = { codec: codec.name, codecSettings: codecSettings(codec, given) };
  const own = ownOf(algorithm, codec);
  const form = updateForm(client, choice, layout);
  const reducer = openReducer(
    {
      algorithm: algorithm.name,
      algorithmSettings: own,
      ...choice,
      modelCodec: "float32",
      layout,
      maxAbs: MAX_ABS,
      maxNorm: Infinity,
      clipUpdateNorm: Infinity,
      rule: { rule: "mean", hostile: 0, numbers: {}, bucket: 1, seed: "1" },
    },
    plain,
  );
  const weights = initialWeights(network, "7");
  let checkpoint = firstCheckpoint(algorithm, own, layout, {}, weights);
  await reducer.load(checkpoint.state.bytes);
  const states: State[] = parts.map(() => ({}));
  for (const [round, updates] of rounds.entries()) {
    const model = Uint8Array.from(checkpoint.model.bytes);
    const grid = client.nextState && stateGrid(parts.length, MAX_ABS);
    const work = `run/round-${round}/attempt-1`;
    const drawn = await form.draw?.(work);
    const following = {
      ...settings,
      meanSamples,
      model,
      half: undefined,
    };
    const begin = () =>
      reducer.openFold({
        round,
        attempt: 1,
        updates: parts.length,
        samples: 100,
        staleness: 0,
        following: client.follows && codec.name !== "float32" ? following : undefined,
      });
    await begin();
    // Those of the attempt before are folded, and come to nothing.
    const ordered = [...updates].sort(
      ([, a], [, b]) => Number(b === "abandoned") - Number(a === "abandoned"),
    );
    for (const [i, [k, fate]] of ordered.entries()) {
      if (fate !== "abandoned" && ordered[i - 1]?.[1] === "abandoned") await begin();
      const seed = `${round}/${k}/${fate}`;
      let bytes = new Uint8Array();
      const samples = parts[k].rows.length;
      const result = await trainRound(wildTrainer, {
        description,
        weights: readBlob(model, layout, [MODEL])[MODEL],
        algorithm,
        part: parts[k],
        state: states[k],
        received: readBlob(model, layout, client.receives),
        settings: { ...settings, algorithmSettings: own, meanSamples, seed, grid },
        transmit(wanted) {
          const chance = random(seed, "codec").next;
          bytes = form.encode(wanted, { grid, drawn, chance });
          return form.decode(bytes, { grid, drawn });
        },
      });
      if (fate === "refused") bytes[3] ^= 1;
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const refusal = await reducer.check(seed, sha256, bytes, { work, samples, fromHalf: false });
      assert.equal(refusal?.code, fate === "refused" ? "layout" : undefined, refusal?.message);
      if (fate === "late") await reducer.drop(seed);
      if (fate === "counted" || fate === "abandoned")
        await reducer.fold(seed, `client ${k}`, samples, 0);
      if (fate === "counted") states[k] = result.state;
    }
    checkpoint = await reducer.finish(model.slice(), parts.length);
  }
  const { tensors } = readSafetensors(Uint8Array.from(checkpoint.state.bytes));
  return {
    states,
    model: checkpoint.model.sha256,
    sumOf: (name: string) => tensors.get(name)!.data as Float64Array,
  };
}

const ROUNDS = [
  [
    [0, "counted"],
    [1, "counted"],
    [2, "counted"],
    [3, "late"],
  ],
  [
    [2, "counted"],
    [0, "refused"],
    [3, "counted"],
  ],
  [
    [1, "abandoned"],
    [2, "abandoned"],
    [0, "counted"],
    [2, "counted"],
  ],
  [
    [3, "counted"],
    [1, "counted"],
    [0, "late"],
  ],
] as const;

/** Numbers with which a pair may be allowed: the model here has 53 parameters. */
const numbersOf = ({ name, defaults }: Codec, scaled = 0): NamedNumbers => ({
  ...defaults,
  ...("fraction" in defaults && { fraction: name === "topk" ? 0.1 : 0.3 }),
  ...("scaled" in defaults && { scaled }),
});

/** The algorithm's own: with places drawn by lot only a small step of the server goes. */
const ownOf = ({ defaults }: Algorithm, { name }: Codec): NamedNumbers => ({
  ...defaults,
  ...(name === "randk" && "serverLearningRate" in defaults && { serverLearningRate: 0.01 }),
});

/** Why the pair is refused, if it is. */
function refusalOf(algorithm: Algorithm, codec: Codec, scaled = 0): string | undefined {
  const all = ownOf(algorithm, codec);
  try {
    requirePair(algorithm, all, codec, numbersOf(codec, scaled));
    return undefined;
  } catch (error) {
    assert.equal((error as { code?: string }).code, "codec-pair");
    return (error as Error).message;
  }
}

for (const algorithm of algorithms)
  for (const codec of Object.values(CODECS)) {
    const { name } = algorithm;
    const refused = refusalOf(algorithm, codec);
    if (refused !== undefined) {
      test(`${name} with ${codec.name}: refused with the reason`, () =>
        assert.match(
          refused,
          /^"\w+" expected .* with .*, got |^"codec" expected .* for .*, got /,
        ));
      continue;
    }
    test(`${name} with ${codec.name}: server and clients agree to the bit, in any order of arrival`, async () => {
      const numbers = numbersOf(codec);
      const run = await play(algorithm, codec, numbers, ROUNDS);
      for (const [sum, state] of Object.entries(SUMS[name] ?? {})) {
        const kept = run.states.flatMap((states) => states[state] ?? []);
        assert.deepEqual(steps(run.sumOf(sum), 2 ** -32), totalSteps(kept, 2 ** -32));
      }
      const reversed = ROUNDS.map((round) => [...round].reverse());
      assert.equal((await play(algorithm, codec, numbers, reversed)).model, run.model);
    });
  }

test("which algorithms go with the codecs that leave most of an update out", () => {
  const going = (codec: string, scaled = 0) =>
    algorithms
      .filter((algorithm) => refusalOf(algorithm, CODECS[codec], scaled) === undefined)
      .map(({ name }) => name);
  assert.deepEqual(going("topk"), ["memory", "residual"]);
  assert.deepEqual(going("topk-int8"), ["memory", "residual"]);
  assert.deepEqual(going("sign"), ["memory", "residual"]);
  assert.deepEqual(going("randk"), ["memory"]);
  const small = ["fedavgm", "fedadam", "fedyogi", "fedadagrad", "fedsam+fedadam"];
  assert.deepEqual(going("randk", 1), small);
  for (const codec of ["float32", "float16", "bfloat16", "int8"])
    assert.equal(going(codec).length, algorithms.length);
});

test("the server's step has its limit with a residual, and with places drawn by lot", () => {
  const allowed = (algorithm: string, codec: string, own: NamedNumbers, numbers: NamedNumbers) => {
    const found = algorithmNamed(algorithm);
    const all = algorithmSettings(found, own);
    try {
      requirePair(found, all, CODECS[codec], codecSettings(CODECS[codec], numbers));
      return true;
    } catch {
      return false;
    }
  };
  const step = (serverLearningRate: number) => ({ serverLearningRate });
  assert.ok(allowed("residual", "topk", step(0.1), { fraction: 0.05 }));
  assert.ok(!allowed("residual", "topk", step(0.11), { fraction: 0.05 }));
  assert.ok(allowed("residual", "sign", step(0.1), {}));
  assert.ok(!allowed("residual", "sign", step(0.2), {}));
  assert.ok(allowed("residual", "int8", step(1), {}));
  assert.ok(!allowed("residual", "randk", step(0.001), {}));
  assert.ok(allowed("memory", "randk", step(0.05), { fraction: 0.05 }));
  assert.ok(!allowed("memory", "randk", step(0.06), { fraction: 0.05 }));
  assert.ok(!allowed("memory", "randk", step(0.01), { fraction: 0.05, scaled: 1 }));
  assert.ok(!allowed("fedavgm", "randk", step(0.05), { fraction: 0.05, scaled: 1 }));
  assert.ok(
    allowed("fedavgm", "randk", { ...step(0.05), momentum: 0 }, { fraction: 0.05, scaled: 1 }),
  );
});
