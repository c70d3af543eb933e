import assert from "node:assert/strict";
import { wasmArithmetic } from "../aggregator/aggregation/arithmetic.js";
import { CODECS } from "../runtime/codecs/built-in.js";
import { float32 } from "../runtime/codecs/float32.js";
import { int8, int8Blocks } from "../runtime/codecs/int8.js";
import { onGrid } from "../runtime/algorithms/vectors.js";
import { layoutOf } from "../runtime/tensors/layout.js";
import { random } from "../runtime/tensors/random.js";
import { here, takeTurns, type Figure } from "./comparison.js";

type Report = (figure: Figure) => void;

/** Megabytes of float32 a second that a codec has to write and read. */
const LEAST = 200;

/** An update of the CIFAR network. */
const layout = layoutOf([
  { name: "0.kernel", shape: [5, 5, 3, 64] },
  { name: "2.kernel", shape: [5, 5, 64, 64] },
  { name: "5.kernel", shape: [1600, 384] },
  { name: "6.kernel", shape: [384, 192] },
  { name: "7.kernel", shape: [192, 100] },
]);

async function codecs(report: Report): Promise<void> {
  const grid = 2 ** -32;
  const chance = random("bench");
  const delta = onGrid(
    new Float32Array(layout.size).map(() => 1e-3 * chance.normal()),
    grid,
  );
  for (const codec of Object.values(CODECS)) {
    const form = codec.form(layout, ["delta"]);
    const drawn = await form.draw?.("run/round-1/attempt-1");
    const round = { grid, drawn, chance: chance.next };
    const update = form.encode({ delta }, round);
    const times = await takeTurns([
      here("encode", () => form.encode({ delta }, round)),
      here("decode", () => form.decode(update, round)),
    ]);
    for (const way of ["encode", "decode"] as const) {
      const value = (4 * layout.size) / times[way] / 1e3;
      report({
        name: `${codec.name}, ${way} ${layout.size.toLocaleString("en")} numbers`,
        value,
        unit: "MB/s",
        target: `>= ${LEAST} MB/s of float32`,
        met: value >= LEAST,
      });
    }
  }
}

/** An update of bytes into the sum, as it came, against one of float32. */
async function folds(report: Report): Promise<void> {
  const c = 1.5 * 2 ** 32;
  const arithmetic = await wasmArithmetic();
  const chance = random("folds");
  const [bytes, floats] = [int8, float32].map((codec) => codec.form(layout, ["delta"]));
  const inBlocks = int8Blocks(layout, ["delta"]);
  const delta = new Float32Array(layout.size).map(() => chance.normal());
  const packed = bytes.encode({ delta }, { chance: chance.next });
  const same = floats.encode(bytes.decode(packed));
  const [sum] = arithmetic.sums(layout.size, 1);
  // Read when they are checked, before they are folded.
  const [blocks, numbers] = [inBlocks(packed)["delta"], floats.decode(same)["delta"]];
  const ways = {
    int8: () => arithmetic.foldBlocks(sum, blocks, 3, c),
    float32: () => arithmetic.fold(sum, numbers, 3, c),
  };
  const [one, other] = Object.values(ways).map((way) => {
    sum.fill(0);
    way();
    return Float64Array.from(sum);
  });
  assert.deepEqual(one, other);
  const times = await takeTurns([here("int8", ways.int8), here("float32", ways.float32)]);
  const [value, baselineValue] = [times.int8, times.float32].map(
    (time) => layout.size / time / 1e3,
  );
  report({
    name: "fold of int8 from its bytes, blocks of 256",
    value,
    unit: "million numbers/s",
    baseline: "float32",
    baselineValue,
    ratio: value / baselineValue,
    target: ">= 1 x",
    met: value >= baselineValue,
  });
}

/** Codecs of updates: how fast they are written and read, and folded. */
export async function compare(report: Report): Promise<void> {
  await folds(report);
  await codecs(report);
}
