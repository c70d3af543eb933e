import assert from "node:assert/strict";
import { test } from "node:test";
import { DOCUMENTS, FILES, SOURCES, commentsOf, textOf } from "./tree.js";

/** Turns of phrase that make a reader halt. Say the thing first, with a plain verb. */
const CROOKED =
  /\b(be it|goes on|go on with|gone on with|whoever|who may|for so long|all that|besides|anew|of before|nothing is to be said|without further ado)\b/i;

const NAMING_THEM = "test/documents/plain.test.ts";

/** A comment as running text, without its stars and slashes. */
const running = (comment: string) => comment.replace(/\n\s*(\*|\/\/)\s*/g, " ");

test("documents and comments are plain English", () => {
  const documents = DOCUMENTS.map((path) => ({ place: path, text: textOf(path) }));
  const assembly = FILES.filter((path) => path.startsWith("assembly/"));
  const comments = [...new Set([...SOURCES, ...assembly])]
    .filter((path) => path !== NAMING_THEM && /\.\w?[jt]s$/.test(path))
    .flatMap(commentsOf);
  const crooked = [...documents, ...comments].flatMap(({ place, text }) => {
    const found = CROOKED.exec(running(text).replace(/\s+/g, " "));
    return found === null ? [] : [`${place}: ${found[0]}`];
  });
  assert.deepEqual(crooked, []);
});
