import { plain } from "../aggregator/aggregation/arithmetic.js";
import { CODECS } from "../runtime/codecs/built-in.js";
import { onGrid } from "../runtime/algorithms/vectors.js";
import { readKernelBinaries } from "../runtime/platform/node-kernels.js";
import { layoutOf } from "../runtime/tensors/layout.js";
import { random } from "../runtime/tensors/random.js";
import { compileKernels, instantiateKernels } from "../runtime/wasm/load.js";
import { ownHeap } from "../runtime/wasm/own-heap.js";
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

/** The fold of bytes, block by block with its scale, against that of the float32 they stand for. */
async function folds(report: Report): Promise<void> {
  const size = 1024 * 1024;
  const block = 256;
  const c = 1.5 * 2 ** 32;
  const scale = 2 ** -10;
  const heap = ownHeap(16 * size);
  const kernels = await instantiateKernels(
    await compileKernels(readKernelBinaries(), "simd"),
    heap.memory,
  );
  const [sum, numbers, bytes] = [8 * size, 4 * size, size].map(heap.allocate);
  const given = new Int8Array(heap.memory.buffer, bytes, size).map((_, i) => (i % 255) - 127);
  new Int8Array(heap.memory.buffer, bytes, size).set(given);
  new Float32Array(heap.memory.buffer, numbers, size).set(
    Float32Array.from(given, (x) => x * scale),
  );
  const inBlocks = () => {
    for (let i = 0; i < size; i += block)
      kernels.foldInt8(sum + 8 * i, bytes + i, block, 3 * scale, c);
  };
  const total = () => new Float64Array(heap.memory.buffer, sum, size);
  const expected = new Float64Array(size);
  plain.fold(expected, new Float32Array(heap.memory.buffer, numbers, size), 3, c);
  total().fill(0);
  inBlocks();
  if (!total().every((x, i) => x === expected[i])) throw new Error("the folds differ");
  const times = await takeTurns([
    here("int8", inBlocks),
    here("float32", () => kernels.foldFloat32(sum, numbers, size, 3, c)),
  ]);
  const [value, baselineValue] = [times.int8, times.float32].map((time) => size / time / 1e3);
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
