// Fashion-MNIST in the IDX format, packed with gzip.

export const SIZE = 28 * 28;

/** A file's numbers, behind its header. */
async function idx(name, header) {
  const response = await fetch(`/images/${name}-ubyte.gz`);
  if (!response.ok) throw new Error(`"${name}" is not to be had`);
  const unpacked = response.body.pipeThrough(new DecompressionStream("gzip"));
  const bytes = await new Response(unpacked).arrayBuffer();
  return new Uint8Array(bytes, header);
}

/** The names of the classes, in the order of their labels. */
export async function classNames() {
  const text = await (await fetch("/images/classes.txt")).text();
  return text.trim().split("\n");
}

/**
 * Images of one half, `train` or `t10k`, end to end as bytes, and their labels: of each class in
 * `classes` the `count` that come behind the first `skip`.
 */
export async function load(half, { classes, count, skip = 0 }) {
  const [images, labels] = await Promise.all([
    idx(`${half}-images-idx3`, 16),
    idx(`${half}-labels-idx1`, 8),
  ]);
  const seen = new Map(classes.map((label) => [label, 0]));
  const rows = [];
  labels.forEach((label, row) => {
    const before = seen.get(label);
    if (before === undefined) return;
    seen.set(label, before + 1);
    if (before >= skip && before < skip + count) rows.push(row);
  });
  const x = new Uint8Array(rows.length * SIZE);
  rows.forEach((row, i) => x.set(images.subarray(row * SIZE, (row + 1) * SIZE), i * SIZE));
  return { x, y: rows.map((row) => labels[row]) };
}
