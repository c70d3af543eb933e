import { test } from "node:test";
import { MODES } from "./crash-points.js";
import { survivesKills } from "./kills.js";

test("a server killed 20 times at persistence calls ends its run as if it had been left alone", () =>
  survivesKills(20, "1"));

test("so does one with buffered rounds, killed 5 times", () =>
  survivesKills(5, "1", MODES["buffered"]));
