import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { decodeClientMessage } from "../../runtime/protocol/client-messages.js";
import { encode, MAX_TEXT_BYTES } from "../../runtime/protocol/messages.js";
import { decodeServerMessage } from "../../runtime/protocol/server-messages.js";
import { readTrainSettings } from "../../runtime/protocol/settings.js";
import { fromClient, fromServer, hash, id, settings } from "./samples.js";

test("every message is read back as it was written", () => {
  for (const message of fromClient) {
    const decoded = decodeClientMessage(encode(message));
    assert.ok(decoded.ok, message.type);
    assert.deepEqual({ ...decoded.message, ...message }, decoded.message);
  }
  for (const message of fromServer) {
    const decoded = decodeServerMessage(encode(message));
    assert.ok(decoded.ok, message.type);
    assert.deepEqual({ ...decoded.message, ...message }, decoded.message);
  }
});

test("an optional field may be absent, and is null when read", () => {
  const decoded = decodeServerMessage(
    JSON.stringify({ type: "refused", assignment: id, code: "late" }),
  );
  assert.deepEqual(decoded, {
    ok: true,
    message: {
      type: "refused",
      assignment: id,
      code: "late",
      message: null,
      retryAfter: null,
    },
  });
});

test("unknown fields are dropped", () => {
  const decoded = decodeClientMessage('{"type":"ready","later":{"a":1}}');
  assert.deepEqual(decoded, { ok: true, message: { type: "ready" } });
});

const codeOf = (text: string, decode = decodeClientMessage) => {
  const decoded = decode(text);
  return decoded.ok ? "ok" : decoded.error.code;
};

test("what is wrong with a frame has a name", () => {
  assert.equal(codeOf("{"), "not-json");
  assert.equal(codeOf(""), "not-json");
  assert.equal(codeOf("null"), "not-a-message");
  assert.equal(codeOf("[]"), "not-a-message");
  assert.equal(codeOf('{"type":3}'), "not-a-message");
  assert.equal(codeOf('{"type":"hullo"}'), "unknown-type");
  assert.equal(codeOf('{"type":"constructor"}'), "unknown-type");
  assert.equal(codeOf('{"type":"__proto__"}'), "unknown-type");
  assert.equal(codeOf('{"type":"busy"}'), "bad-field");
  assert.equal(codeOf('{"type":"assign"}'), "unknown-type");
  assert.equal(codeOf("[".repeat(MAX_TEXT_BYTES)), "not-json");
  assert.equal(codeOf(" ".repeat(MAX_TEXT_BYTES + 1)), "too-large");
  const long = (length: number) => JSON.stringify({ type: "ready", x: "é".repeat(length) });
  assert.equal(codeOf(long((MAX_TEXT_BYTES - 24) / 2)), "ok");
  assert.equal(codeOf(long(MAX_TEXT_BYTES / 2)), "too-large");
});

test("the sentence names the field, what was expected and what came", () => {
  const wrong = (changes: object) => {
    const decoded = decodeClientMessage(JSON.stringify({ ...fromClient[8], ...changes }));
    return decoded.ok ? "nothing" : decoded.error.message;
  };
  for (const [changes, sentence] of [
    [{ samples: 0 }, '"offer.samples" expected at least 1, got 0'],
    [{ samples: 1.5 }, '"offer.samples" expected a whole number, got 1.5'],
    [{ samples: undefined }, '"offer.samples" expected a value, got nothing'],
    [{ sha256: "zz" }, '"offer.sha256" expected 64 hexadecimal digits in lower case, got "zz"'],
    [{ sha256: 5 }, '"offer.sha256" expected text, got 5'],
    [{ metrics: [] }, '"offer.metrics.lossBefore" expected a value, got nothing'],
    [{ metrics: 5 }, '"offer.metrics" expected an object, got 5'],
  ] as const)
    assert.equal(wrong(changes), sentence);
  const long = decodeClientMessage(JSON.stringify({ type: "busy", reason: "x".repeat(1025) }));
  assert.ok(!long.ok);
  assert.equal(long.error.message, '"busy.reason" expected at most 1024 characters, got 1025');
});

test("a message that cannot be read is answered with the assignment that it names", () => {
  const about = (changes: object) => {
    const decoded = decodeClientMessage(JSON.stringify({ ...fromClient[8], ...changes }));
    return decoded.ok ? "readable" : decoded.assignment;
  };
  assert.equal(about({ samples: 0 }), id);
  assert.equal(about({ samples: 0, assignment: "not an id" }), undefined);
  assert.equal(about({ assignment: 3 }), undefined);
});

test("nothing in a frame reaches a prototype", () => {
  const decoded = decodeServerMessage(
    `{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"type":"assign","assignment":"${id}","round":1,"attempt":1,"phase":"train","task":"train","model":{"sha256":"${hash}","bytes":1,"__proto__":{"polluted":1}},"codec":"float32","settings":{"__proto__":{"polluted":1},"zeta":1},"deadline":1}`,
  );
  assert.ok(decoded.ok && decoded.message.type === "assign");
  assert.equal(({} as Record<string, unknown>)["polluted"], undefined);
  assert.equal("polluted" in decoded.message, false);
  assert.equal("polluted" in decoded.message.settings, false);
  assert.equal("polluted" in decoded.message.model, false);
});

test("no text makes a decoder throw", () => {
  const frame = fc.oneof(
    fc.string(),
    fc.json(),
    fc
      .tuple(
        fc.constantFrom(...fromClient, ...fromServer),
        fc.dictionary(fc.string(), fc.jsonValue()),
      )
      .map(([message, noise]) => JSON.stringify({ ...message, ...noise })),
    fc
      .tuple(fc.constantFrom(...fromClient, ...fromServer), fc.nat(), fc.nat())
      .map(([message, at, byte]) => {
        const text = JSON.stringify(message);
        const i = at % text.length;
        return text.slice(0, i) + String.fromCharCode(byte % 128) + text.slice(i + 1);
      }),
  );
  fc.assert(
    fc.property(frame, (text) => {
      for (const decode of [decodeClientMessage, decodeServerMessage]) {
        const decoded = decode(text);
        assert.ok(decoded.ok || decoded.error.message.length < 400);
      }
    }),
    { numRuns: 2000 },
  );
});

test("training settings are strict and bounded", () => {
  assert.deepEqual(readTrainSettings(settings), settings);
  const grid = 2 ** -32;
  assert.equal(readTrainSettings({ ...settings, grid }).grid, grid);
  const refused = (changes: object, message: RegExp) =>
    assert.throws(() => readTrainSettings({ ...settings, ...changes }), {
      code: "settings",
      message,
    });
  // What a run is not given has a default; an assignment has to say all.
  const { zeta: _, ...incomplete } = settings;
  assert.throws(() => readTrainSettings(incomplete), {
    code: "settings",
    message: /zeta" expected/,
  });
  refused({ localEpochs: 1e9 }, /"settings.localEpochs" expected at most 10000/);
  refused({ learningRate: null }, /"settings.learningRate"/);
  refused({ grid: 3e-10 }, /"settings.grid" expected a power of two/);
  refused({ grid: 1 + 2 ** -52 }, /"settings.grid" expected a power of two/);
  refused({ grid: 0 }, /"settings.grid" expected/);
  refused({ zeta: -1 }, /"settings.zeta" expected at least 0/);
  refused({ momentum: 0.9 }, /"settings.momentum" expected no such field/);
  refused({ algorithmSettings: { mu: "x" } }, /"settings.algorithmSettings.mu"/);
});
