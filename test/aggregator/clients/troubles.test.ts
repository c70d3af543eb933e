import assert from "node:assert/strict";
import { test } from "node:test";
import { troubleAfter, wordsOf, type Trouble } from "../../../aggregator/clients/troubles.js";

/** What has to come before the client is asked again, after these troubles in their order. */
function after(...names: (readonly [Trouble["what"], string])[]): Trouble["until"] {
  let trouble: Trouble | undefined;
  for (const [what, code] of names) trouble = troubleAfter(trouble, { what, code, message: "" });
  return trouble!.until;
}

test("what lies in the client's data, code or limits bars it until it says that something has changed", () => {
  for (const code of ["data", "layer", "memory", "seconds", "model-bytes", "settings"])
    assert.equal(after(["declined", code]), "ready", code);
  assert.equal(after(["failed", "data"]), "ready");
  assert.equal(after(["refused", "layout"]), "ready");
});

test("what follows from the model bars a client until there is another one, however often it comes", () => {
  for (const [what, code] of [
    ["failed", "diverged"],
    ["refused", "range"],
    ["refused", "not-finite"],
  ] as const)
    for (const times of [1, 5])
      assert.equal(after(...Array.from({ length: times }, () => [what, code] as const)), "model");
});

test("what may go better by itself is tried three times in a row", () => {
  const trap = ["failed", "trap"] as const;
  assert.equal(after(trap), undefined);
  assert.equal(after(trap, trap), undefined);
  assert.equal(after(trap, trap, trap), "ready");
  assert.equal(after(trap, trap, ["failed", "memory"], trap), undefined);
});

test("a trouble's words are its code and what was said beside it", () => {
  assert.equal(wordsOf({ code: "data", message: "no rabbit" }), "data: no rabbit");
  assert.equal(wordsOf({ code: "trap", message: "" }), "trap");
});
