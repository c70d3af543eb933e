import assert from "node:assert/strict";
import { test } from "node:test";
import { verdictOn } from "../../cli/verdict.js";
import type { RoundReport } from "../../cli/view.js";

const ended = (judgedBy: RoundReport["judgedBy"], value?: number): RoundReport => ({
  ...{ round: 3, rounds: 3, participants: 2, seconds: 1 },
  ...{
    judgedBy,
    ...(judgedBy === "accuracy" ? { accuracy: value } : { metrics: { [judgedBy]: value } }),
  },
});

test("of a run whose loss has grown it is said that it diverges, whatever its task", () => {
  for (const last of [ended("r2", -2453), ended("accuracy", 0.1), ended("bits", 9), undefined])
    assert.match(
      verdictOn({ began: 1, ended: 2478, learningRate: 10 }, last) ?? "",
      /grown .*from 1\.000 to 2478.* smaller --learning-rate than 10/,
    );
  assert.match(verdictOn({ began: 1, ended: NaN, learningRate: 1 }, undefined) ?? "", /NaN/);
});

test("of a regression that is worse than the mean it is said, and of what has learned, or is not known, nothing", () => {
  const course = { began: 1, ended: 0.5, learningRate: 0.1 };
  assert.match(verdictOn(course, ended("r2", -0.01)) ?? "", /worse than the mean/);
  for (const last of [ended("r2", 0), ended("r2"), ended("accuracy", 0.1), undefined])
    assert.equal(verdictOn(course, last), undefined);
  for (const unknown of [{ began: 1 }, { ended: 9 }, {}])
    assert.equal(verdictOn({ ...unknown, learningRate: 1 }, ended("error", 2)), undefined);
});
