import type { OnnxNode, OnnxTensor } from "./onnx-file.js";

/** The operator that stands for a whole self-attention, which ONNX has only in parts. */
export const ATTENTION = "MatMul to Softmax to MatMul";

/** One of query, key and value: a matrix and a bias, cut into heads. */
interface Part {
  readonly x: string;
  readonly kernel: string;
  readonly bias: string;
  readonly heads: number;
  readonly size: number;
}

/**
 * The nodes with one in place of each self-attention: softmax(q k^T / sqrt(size)) v and a matrix
 * behind it, as our writer has it and exporters of transformers do. What is like it but not the
 * same stays as it is.
 */
export function withAttention(
  nodes: readonly OnnxNode[],
  tensors: ReadonlyMap<string, OnnxTensor>,
): readonly OnnxNode[] {
  if (!nodes.some(({ op }) => op === "Softmax")) return nodes;
  const gives = new Map(nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  const readers = new Map<string, OnnxNode[]>();
  for (const node of nodes)
    for (const name of node.inputs) readers.set(name, [...(readers.get(name) ?? []), node]);
  const before = (name: string, op: string): OnnxNode | undefined => {
    const node = gives.get(name);
    return node?.op === op ? node : undefined;
  };
  const behind = (node: OnnxNode, op: string): OnnxNode | undefined => {
    const [reader, ...others] = readers.get(node.outputs[0]) ?? [];
    return others.length === 0 && reader?.op === op ? reader : undefined;
  };
  const listed = (value: unknown): string => (Array.isArray(value) ? value.join() : "");
  const numbers = (name: string): readonly number[] | undefined => {
    const tensor = tensors.get(name);
    return tensor && Array.from(tensor.data, Number);
  };
  /** An addition or product as the tensor and the constant, whichever way round. */
  const split = (node: OnnxNode | undefined): readonly [string, string] | undefined => {
    if (node === undefined) return undefined;
    const [a, b] = node.inputs;
    return tensors.has(b) ? [a, b] : tensors.has(a) ? [b, a] : undefined;
  };

  const part = (name: string, perm: string): Part | undefined => {
    const turned = before(name, "Transpose");
    if (turned === undefined || listed(turned.attributes["perm"]) !== perm) return undefined;
    const cut = before(turned.inputs[0], "Reshape");
    const [, , heads, size, more] = (cut && numbers(cut.inputs[1])) ?? [];
    const sum = cut && split(before(cut.inputs[0], "Add"));
    const product = sum && split(before(sum[0], "MatMul"));
    if (product === undefined || !(heads > 0) || !(size > 0) || more !== undefined)
      return undefined;
    return { x: product[0], kernel: product[1], bias: sum![1], heads, size };
  };

  const made = new Map<OnnxNode, OnnxNode>();
  for (const softmax of nodes) {
    if (
      softmax.op !== "Softmax" ||
      ![undefined, -1n, 3n].includes(softmax.attributes["axis"] as bigint)
    )
      continue;
    const sum = split(before(softmax.inputs[0], "Add"));
    const scores = sum?.[0] ?? softmax.inputs[0];
    const scaled = before(scores, "Mul") ?? before(scores, "Div");
    const scale = split(scaled);
    const product = scale && before(scale[0], "MatMul");
    const mixed = behind(softmax, "MatMul");
    const back = mixed && behind(mixed, "Transpose");
    const rows = back && behind(back, "Reshape");
    const joined = rows && behind(rows, "MatMul");
    const end = joined && behind(joined, "Add");
    const [kernel, bias] = [split(joined)?.[1], split(end)?.[1]];
    if (product === undefined || mixed?.inputs[0] !== softmax.outputs[0] || back === undefined)
      continue;
    const q = part(product.inputs[0], "0,2,1,3");
    const k = part(product.inputs[1], "0,2,3,1");
    const v = part(mixed.inputs[1], "0,2,1,3");
    if (!q || !k || !v || !kernel || !bias || listed(back.attributes["perm"]) !== "0,2,1,3")
      continue;
    const alike = [k, v].every(
      (one) => one.x === q.x && one.heads === q.heads && one.size === q.size,
    );
    const [by] = numbers(scale![1]) ?? [];
    const root = scaled!.op === "Mul" ? 1 / by : by;
    const causal = sum && isCausal(numbers(sum[1]) ?? []);
    if (!alike || !(Math.abs(root - Math.sqrt(q.size)) < 1e-4 * root) || causal === false) continue;
    made.set(end!, {
      label: softmax.label.replace("(Softmax)", "(attention)"),
      op: ATTENTION,
      inputs: [q.x, q.kernel, q.bias, k.kernel, k.bias, v.kernel, v.bias, kernel, bias],
      outputs: end!.outputs,
      attributes: { heads: BigInt(q.heads), size: BigInt(q.size), causal: causal ? 1n : 0n },
    });
  }
  if (made.size === 0) return nodes;
  // What only they read is left out.
  const needed = new Set<OnnxNode>();
  const all = nodes.map((node) => made.get(node) ?? node);
  const sources = new Map(all.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  const open = all.filter((node) => !node.outputs.some((name) => readers.has(name)));
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (needed.has(node)) continue;
    needed.add(node);
    for (const name of node.inputs) {
      const source = sources.get(name);
      if (source !== undefined) open.push(source);
    }
  }
  return all.filter((node) => needed.has(node));
}

/** 0 up to the diagonal, and behind it so little that softmax gives 0. */
function isCausal(mask: readonly number[]): boolean {
  const length = Math.sqrt(mask.length);
  return (
    Number.isInteger(length) &&
    mask.every((value, i) => (i % length <= Math.floor(i / length) ? value === 0 : value <= -1e4))
  );
}
