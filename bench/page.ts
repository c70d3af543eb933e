import { setTimeout } from "node:timers/promises";
import type { Browser } from "playwright-core";
import { readFleet } from "../cli/loadtest/profile.js";
import { launchChromium, withoutChromium } from "../test/bundle/chromium.js";
import { median, type Figure } from "./comparison.js";
import type { ServerAnswer } from "./fleet-server.js";
import { atMost, fleetOf, SETTINGS, SMALL, startServer, until } from "./fleet.js";

const CLIENTS = 1000;
/** Whole rounds over which processor time is summed, and how often with and without a page. */
const ROUNDS = 5;
const TURNS = 5;
const LOADS = 5;

/** Milliseconds until something was painted, and until the clients' rows were there. */
async function load(browser: Browser, url: string): Promise<[number, number]> {
  const context = await browser.newContext();
  try {
    const page = await context.newPage();
    await page.goto(url);
    await page.locator("#rows tr").first().waitFor();
    return await page.evaluate<[number, number]>(
      `[performance.getEntriesByName("first-contentful-paint")[0].startTime, performance.now()]`,
    );
  } finally {
    await context.close();
  }
}

/** The live page, open in Chromium while 1,000 light clients take 2 to 6 seconds for each round. */
export async function compare(report: (figure: Figure) => void): Promise<void> {
  if (withoutChromium) return console.error(withoutChromium);
  const server = await startServer({
    widths: SMALL,
    settings: { ...SETTINGS, gather: CLIENTS, rounds: 1_000_000 },
    connections: 2 * CLIENTS,
  });
  const [{ profile }] = readFleet("instant");
  const fleet = fleetOf(server, CLIENTS, {
    profiles: [
      {
        name: "seconds",
        share: 1,
        profile: { ...profile, computeSeconds: [2, 6] },
      },
    ],
  });
  const browser = await launchChromium();
  try {
    const url = server.url.replace(/^ws/, "http");
    await until(async () => (await server.ask()).rounds.length >= 2);
    /**
     * What so many rounds take, from one commit to another: processor time and time in all, in
     * seconds.
     */
    const cost = async () => {
      const begun = (await server.ask()).rounds.length;
      let rounds: ServerAnswer["rounds"] = [];
      await until(async () => {
        await setTimeout(3000);
        ({ rounds } = await server.ask());
        return rounds.length > begun + ROUNDS;
      });
      const [from, to] = [rounds[begun], rounds[begun + ROUNDS]];
      return { cpu: to.cpu - from.cpu, seconds: to.at - from.at };
    };
    const loads: [number, number][] = [];
    for (let i = 0; i < LOADS; i++) loads.push(await load(browser, url));
    const name = `live page with ${CLIENTS} clients in a round`;
    report(atMost(`${name}: first paint`, median(loads.map(([painted]) => painted)), "ms", 1000));
    report({
      name: `${name}: its table shown`,
      value: median(loads.map(([, shown]) => shown)),
      unit: "ms",
    });
    const without: Awaited<ReturnType<typeof cost>>[] = [];
    const open: typeof without = [];
    for (let turn = 0; turn < TURNS; turn++) {
      without.push(await cost());
      const context = await browser.newContext();
      const page = await context.newPage();
      await page.goto(url);
      await page.locator("#rows tr").first().waitFor();
      open.push(await cost());
      await context.close();
    }
    report({
      ...atMost(
        `${name}: what it costs the server`,
        // More than the same rounds take without it; Chromium, on the same cores, makes them
        // longer.
        100 * median(open.map(({ cpu, seconds }, i) => (cpu - without[i].cpu) / seconds)),
        "% of a core",
        5,
      ),
      baseline: "the server without it",
      baselineValue: 100 * median(without.map((x) => x.cpu / x.seconds)),
    });
  } finally {
    await browser.close();
    fleet.stop();
    server.stop();
  }
}
