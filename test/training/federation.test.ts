import assert from "node:assert/strict";
import { test } from "node:test";
import type { Algorithm, NamedNumbers, State } from "../../runtime/algorithms/algorithm.js";
import { stateGrid } from "../../aggregator/aggregation/weighted-mean.js";
import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import { parseDescription } from "../../runtime/models/description.js";
import { networkOf } from "../../runtime/models/network.js";
import { parameterView, type Vector } from "../../runtime/tensors/layout.js";
import { trainRound } from "../../runtime/training/train-round.js";
import { BUILDS, relativeError, trainerHere, vectorFrom, vectorsOf } from "./engines.js";

const TOLERANCE = 1e-4;

/** The algorithm's own numbers, under the names that the reference program has for them. */
const settingsOf = ({ defaults }: Algorithm, config: Record<string, number>): NamedNumbers => {
  const given: Record<string, number> = {
    ...config,
    momentum: config.beta1,
    // The reference's serverLr is that of the server optimizers only; its SCAFFOLD always has 1.
    serverLearningRate: "beta1" in defaults || "momentum" in defaults ? config.serverLr : 1,
  };
  return Object.fromEntries(
    Object.keys(defaults).map((name) => [name, given[name] ?? defaults[name]]),
  );
};

for (const build of BUILDS)
  for (const { name, json, tensors } of vectorsOf("federation"))
    for (const run of json.runs)
      test(`federation-${name} ${run.key}, ${build} build: the reference's weights after each round`, async () => {
        const { config } = run;
        const algorithm = algorithmNamed(run.algorithm);
        const description = parseDescription(json.model);
        const { layout, input } = networkOf(description);
        const settings = settingsOf(algorithm, config);
        const trainer = await trainerHere(build);
        const sizes: number[] = json.clientSizes;
        const parts = sizes.map((size, k) => ({
          dataset: {
            shape: input,
            inputs: tensors.get(`client${k}.x`)!.data as Float32Array,
            labels: tensors.get(`client${k}.y`)!.data as Int32Array,
            classes: [],
          },
          rows: Uint32Array.from({ length: size }, (_, i) => i),
        }));
        const meanSamples = sizes.reduce((a, b) => a + b, 0) / sizes.length;
        const { server, client } = algorithm;
        let global: Vector = vectorFrom(tensors, "initial", layout);
        let serverState: State = Object.fromEntries(
          Object.entries(server.state).map(([vector, start]) => [
            vector,
            new Float64Array(layout.size).fill(start(settings)),
          ]),
        );
        const clientStates: State[] = sizes.map(() => ({}));

        for (const [t, participants] of json.schedule.entries()) {
          const sums = Object.fromEntries(
            client.sends.map((sent) => [sent, new Float64Array(layout.size)]),
          );
          const weights = Object.fromEntries(client.sends.map((sent) => [sent, 0]));
          const received = Object.fromEntries(
            Object.entries(server.broadcast?.(serverState, sizes.length) ?? {}).map(
              ([vector, values]) => [vector, Float32Array.from(values)],
            ),
          );
          for (const k of participants) {
            const { state, update, metrics } = await trainRound(trainer, {
              description,
              weights: global,
              algorithm,
              part: parts[k],
              state: clientStates[k],
              received,
              settings: {
                algorithm: run.algorithm,
                algorithmSettings: settings,
                localEpochs: config.localEpochs,
                batchSize: config.batchSize,
                learningRate: config.lr * config.lrDecay ** t,
                initialLearningRate: config.lr,
                weightDecay: config.weightDecay,
                clipNorm: config.clipNorm,
                zeta: config.zeta,
                manIncludesLogits: false,
                shuffle: false,
                meanSamples,
                seed: "",
                grid: client.nextState && stateGrid(sizes.length, 1024),
              },
            });
            assert.equal(metrics.samples, sizes[k]);
            clientStates[k] = state;
            for (const sent of client.sends) {
              const weight = server.folds[sent] === "samples" ? sizes[k] : 1;
              weights[sent] += weight;
              update[sent].forEach((x, i) => (sums[sent][i] += weight * x));
            }
          }
          const finished = server.finish({
            global,
            fold: { sums, weights, count: participants.length },
            state: serverState,
            settings,
            population: sizes.length,
          });
          global = finished.global;
          serverState = finished.state;
          for (const place of layout.parameters) {
            const key = `${run.key}.round${t + 1}.${place.name}`;
            const error = relativeError(parameterView(global, place), tensors.get(key)!.data);
            assert.ok(error <= TOLERANCE, `${key} is off by ${error}`);
          }
        }
        trainer.close();
      });
