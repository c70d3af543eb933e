import assert from "node:assert/strict";
import { test } from "node:test";
import { algorithmNamed } from "../../runtime/algorithms/built-in.js";
import type { ClientContext, State } from "../../runtime/algorithms/algorithm.js";
import { onGrid } from "../../runtime/algorithms/vectors.js";
import { codecNamed } from "../../runtime/codecs/built-in.js";
import { chanceOf, float32Of, layout, reference, tensors } from "./vectors.js";

const { grid, block, fraction, codecs } = reference;
const UPDATES = 4;
const REFUSED = 2;

/** Four updates of one client, of which the third is refused: what is sent, and what it keeps then. */
function updatesOf(algorithm: string, codec: string, settings: Readonly<Record<string, number>>) {
  const { client } = algorithmNamed(algorithm);
  const [name] = client.state;
  const k = codecs["topk-int8"].k!;
  let state: State = { [name]: new Float64Array(layout.size) };
  const drawn = tensors["randk/indices"] as Uint32Array;
  return Array.from({ length: UPDATES }, (_, i) => {
    const form = codecNamed(codec).form(layout, ["delta"], settings);
    const context = { state } as unknown as ClientContext;
    const { delta } = client.update({ ...context, delta: float32Of("feedback/deltas", i) });
    const wanted = { delta: onGrid(delta, grid) };
    const chance = chanceOf(tensors["feedback/chance"].subarray(i * k, (i + 1) * k));
    const round = { grid, drawn, chance };
    const sent = form.decode(form.encode(wanted, round), round);
    if (i !== REFUSED) state = client.nextState!({ ...context, wanted, sent });
    return { sent: sent.delta, kept: state[name] };
  });
}

for (const [trace, codec, settings] of [
  ["topk", "topk", { fraction }],
  ["topk-int8", "topk-int8", { fraction, block }],
  ["sign", "sign", {}],
  ["randk-feedback", "randk", { fraction, scaled: 0 }],
] as const)
  test(`residual with ${codec}: four updates, one of them refused, are those of another program`, () =>
    updatesOf("residual", codec, settings).forEach(({ sent, kept }, i) => {
      assert.deepEqual(sent, float32Of(`feedback/${trace}/sent`, i));
      assert.deepEqual(Float32Array.from(kept), float32Of(`feedback/${trace}/residual`, i));
    }));

test("memory with topk-int8: four updates, one of them refused, are those of another program", () =>
  updatesOf("memory", "topk-int8", { fraction, block }).forEach(({ sent, kept }, i) => {
    assert.deepEqual(sent, float32Of("memory/topk-int8/sent", i));
    const expected = tensors["memory/topk-int8/memory"];
    assert.deepEqual(kept, expected.slice(i * layout.size, (i + 1) * layout.size));
  }));
