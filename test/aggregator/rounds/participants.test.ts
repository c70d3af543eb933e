import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Members, type Member } from "../../../aggregator/rounds/participants.js";

const STATUSES = ["asked", "counted", "late", "lost", "refused"] as const;
const work = { round: 1, attempt: 1 };

test("every version stays as it is, whichever is read and written after it", () => {
  const step = fc.record({
    /** The version that is written to, from the newest back. */
    back: fc.nat({ max: 3 }),
    client: fc.constantFrom("a", "b", "c", "d"),
    status: fc.constantFrom(...STATUSES),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      // Copies, one for each version, are the reference.
      const versions = [{ members: Members.of(), copy: new Map<string, Member>() }];
      for (const { back, client, status } of steps) {
        const { members, copy } = versions[Math.max(0, versions.length - 1 - back)];
        const member: Member = { status, work };
        versions.push({
          members: members.with(client, member),
          copy: new Map(copy).set(client, member),
        });
      }
      for (const { members, copy } of versions) {
        assert.deepEqual([...members], [...copy]);
        assert.equal(members.size, copy.size);
        assert.equal(members.get("a"), copy.get("a"));
        for (const status of STATUSES)
          assert.equal(
            members.count(status),
            [...copy.values()].filter((member) => member.status === status).length,
          );
      }
    }),
  );
});
