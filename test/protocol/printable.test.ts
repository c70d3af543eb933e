import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeClientMessage } from "../../runtime/protocol/client-messages.js";
import { encode } from "../../runtime/protocol/messages.js";
import { decodeServerMessage } from "../../runtime/protocol/server-messages.js";
import { printable, printableJson, printableLines } from "../../runtime/protocol/printable.js";

/** What a terminal obeys or a reader does not see, by ranges of Unicode's names list. */
const RANGES = [
  [0x00, 0x1f], // C0
  [0x7f, 0x9f], // DEL and C1
  [0x061c, 0x061c], // ARABIC LETTER MARK
  [0x200e, 0x200f], // marks of direction
  [0x2028, 0x202e], // separators, embeddings and overrides
  [0x2066, 0x2069], // isolates
  [0x200b, 0x200b], // a space of no width
  [0x2060, 0x2060], // a joiner of words
  [0xfeff, 0xfeff], // a mark of byte order
  [0xe0000, 0xe007f], // tags
];
const HIDDEN = RANGES.flatMap(([from, to]) =>
  Array.from({ length: to - from + 1 }, (_, i) => String.fromCodePoint(from + i)),
);

test("text of others: each control, C1 and bidi character is replaced, all else stays", () => {
  for (const one of HIDDEN)
    assert.equal(printable(`a${one}b`), "a\ufffdb", one.codePointAt(0)!.toString(16));
  const kept = "Grüße, 東京 שלום 👩‍🔬 ~ \u00a0é";
  assert.equal(printable(kept), kept);
  assert.equal(printableLines("ours\nours\u009b31m"), "ours\nours\ufffd31m");
});

test("text of others in JSON: nothing hidden is left, and the value is the same", () => {
  const value = { text: HIDDEN.join("x") };
  const json = printableJson(JSON.stringify(value));
  for (const one of HIDDEN) assert.ok(!json.includes(one));
  assert.deepEqual(JSON.parse(json), value);
});

const EVIL = "on \u001b[2J\u009b31m\u202ebattery\r\n";
const GOOD = "on \ufffd[2J\ufffd31m\ufffdbattery\ufffd\ufffd";

test("text of others in a message is read as it may be shown, by either end", () => {
  const busy = decodeClientMessage(encode({ type: "busy", reason: EVIL }));
  assert.ok(busy.ok && busy.message.type === "busy");
  assert.equal(busy.message.reason, GOOD);
  const wait = decodeServerMessage(encode({ type: "wait", reason: EVIL }));
  assert.ok(wait.ok && wait.message.type === "wait");
  assert.equal(wait.message.reason, GOOD);
});

test("text of others in an error about their frame is shown as it may be", () => {
  for (const frame of [EVIL, JSON.stringify({ type: EVIL }), `{"type":"ready","x":${EVIL}}`]) {
    const decoded = decodeClientMessage(frame);
    assert.ok(!decoded.ok);
    assert.equal(printable(decoded.error.message), decoded.error.message);
  }
});
