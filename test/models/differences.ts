import assert from "node:assert/strict";
import type { Network } from "../../runtime/models/network.js";
import { putShare } from "../../runtime/models/shares.js";
import { random, type Random } from "../../runtime/tensors/random.js";
import type { Plan } from "../../runtime/training/plan.js";
import { lossOf, outputsOf } from "./plain.js";

// Gradients, and products with the Hessian, as differences of values that are computed in float64.

/** A network, its weights, and a batch: examples end to end, and what each is compared with. */
export interface Given {
  readonly network: Network;
  readonly weights: Float32Array;
  readonly x: Float32Array;
  readonly targets: readonly (readonly number[])[];
}

/** Some places of every parameter that learns: all of a small one. */
export function placesToLookAt({ shares }: Network, most = 6): readonly number[] {
  const chance = random("places");
  return shares.learning.places.flatMap(({ offset, size }) =>
    size <= most
      ? Array.from({ length: size }, (_, i) => offset + i)
      : Array.from({ length: most }, () => offset + chance.integer(size)),
  );
}

export function differencesOf({ network, weights, x, targets }: Given) {
  const { description, layout, input } = network;
  const size = input.reduce((a, b) => a * b);
  const examples = targets.map((_, b) => [...x.subarray(b * size, (b + 1) * size)]);
  const byName = new Map(layout.parameters.map((place) => [place.name, place]));
  const taps = network.layers.flatMap(({ tap }) => (tap === undefined ? [] : [tap.name]));
  const named = (all: Float64Array | Float32Array) => (name: string) => {
    const { offset, size } = byName.get(name)!;
    return all.subarray(offset, offset + size);
  };

  /** The task's loss, the mean square of each tap, and the two together. */
  function objective(all: Float64Array | Float32Array, zeta: number, chance?: Random) {
    const seen = examples.map((example) => outputsOf(description, named(all), example, chance));
    const loss = lossOf(
      description,
      seen.map(({ outputs }, b) => ({ output: outputs[outputs.length - 1], target: targets[b] })),
    );
    const norms = taps.map((name) => {
      const values = seen.flatMap(({ tapped }) => tapped[parseInt(name, 10)]);
      return values.reduce((sum, value) => sum + value * value, 0) / values.length;
    });
    return { loss, norms, value: loss + (zeta / 2) * norms.reduce((a, b) => a + b, 0) };
  }

  const moved = (
    moves: readonly (readonly [place: number, by: number])[],
    along?: ArrayLike<number>,
    step = 0,
  ) => {
    const all = Float64Array.from(weights, (w, i) => w + step * (along?.[i] ?? 0));
    for (const [place, by] of moves) all[place] += by;
    return all;
  };

  return {
    examples,
    weights: named,
    objective,

    /** The gradient at some places; `seed` is what dropout draws from. */
    gradient(places: readonly number[], zeta: number, seed: string): ReadonlyMap<number, number> {
      const h = 1e-5;
      const at = (place: number, by: number) =>
        objective(moved([[place, by]]), zeta, random(seed)).value;
      return new Map(places.map((place) => [place, (at(place, h) - at(place, -h)) / (2 * h)]));
    },

    /** The Hessian times a direction at some places, without dropout. */
    product(
      places: readonly number[],
      zeta: number,
      direction: ArrayLike<number>,
    ): ReadonlyMap<number, number> {
      const h = 1e-4;
      const at = (place: number, by: number, step: number) =>
        objective(moved([[place, by]], direction, step), zeta).value;
      return new Map(
        places.map((place) => [
          place,
          (at(place, h, h) - at(place, h, -h) - at(place, -h, h) + at(place, -h, -h)) / (4 * h * h),
        ]),
      );
    },
  };
}

/** Puts weights, examples and targets into a plan. */
export function fill(plan: Plan, { network, weights, x, targets }: Given): void {
  plan.setWeights(weights);
  plan.inputs().set(x);
  const { kind } = network.loss.target;
  if (kind === "classes") plan.labels().set(targets.flat());
  else if (kind === "numbers") plan.targets().set(targets.flat());
}

/** A vector over what learns that a plan has written, as one over all parameters. */
export function vectorAt({ heap, network: { layout, shares } }: Plan, address: number) {
  const { learning } = shares;
  const whole = new Float32Array(layout.size);
  putShare(learning, new Float32Array(heap.memory.buffer, address, learning.layout.size), whole);
  return whole;
}

/** Each number within a ten-thousandth of the largest of its tensor. */
export function near(
  { layout }: Pick<Network, "layout">,
  actual: ArrayLike<number>,
  expected: ReadonlyMap<number, number>,
  what: string,
): void {
  for (const { name, offset, size } of layout.parameters) {
    let largest = 0;
    for (let i = offset; i < offset + size; i++) largest = Math.max(largest, Math.abs(actual[i]));
    for (let i = offset; i < offset + size; i++) {
      const value = expected.get(i);
      if (value === undefined) continue;
      assert.ok(
        Math.abs(actual[i] - value) <= 1e-4 * largest + 1e-6,
        `${what}: ${name}[${i - offset}] expected ${value}, got ${actual[i]} of at most ${largest}`,
      );
    }
  }
}
