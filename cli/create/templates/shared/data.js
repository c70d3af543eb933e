// Your own data go here: no other file of this folder knows what an example is.

/**
 * The network, and the names of its classes. An example is a window of 64 samples with three
 * numbers each, as an accelerometer gives them.
 */
export const model = {
  description: {
    input: [64, 3],
    layers: [
      { type: "conv1d", filters: 16, kernelSize: 5, activation: "relu" },
      { type: "maxPool", size: 2 },
      { type: "flatten" },
      { type: "dense", units: 3 },
    ],
  },
  classes: ["still", "walking", "running"],
};

/**
 * The examples of one participant: `x` holds the inputs one after the other, `y` one class each, as
 * its number in `model.classes`. It is called for each round, so that what came in since counts. In
 * place of these made-up windows, read yours: from a file, a database, a sensor's log.
 * @param name the participant, each of which has other examples; "test" are those to try a model on
 */
export function examples(name) {
  const chance = seeded(name);
  const count = 200;
  // Each participant has much of one class and little of the others.
  const favourite = Math.floor(3 * chance());
  const y = Array.from({ length: count }, (_, i) =>
    name === "test" || chance() < 0.5 ? i % 3 : favourite,
  );
  const x = Float32Array.from(y.flatMap((activity) => movement(activity, chance)));
  return { x, y };
}

/** A window: the more lively the activity, the faster and wider it sways. */
function movement(activity, chance) {
  const phase = 2 * Math.PI * chance();
  return Array.from({ length: 64 }, (_, time) =>
    [0, 1, 2].map((axis) => {
      const sway = Math.sin(phase + axis + (time * (activity + 1)) / 6);
      return activity * sway + chance() - 0.5;
    }),
  ).flat();
}

/** Numbers from 0 to 1 that a text decides. */
function seeded(text) {
  let state = [...text].reduce((sum, letter) => Math.imul(sum, 31) + letter.codePointAt(0), 7);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
