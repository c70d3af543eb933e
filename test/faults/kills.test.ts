import { test } from "node:test";
import { survivesKills } from "./kills.js";

test("a server killed 20 times at persistence calls ends its run as if it had been left alone", () =>
  survivesKills(20, "1"));
