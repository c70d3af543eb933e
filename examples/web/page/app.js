import { FederatedClient } from "/fedflat/client.js";
import { classNames, load } from "./images.js";
import { openView } from "./view.js";

const OWN_PER_CLASS = 120;
const TEST_PER_CLASS = 30;
const CLASSES = [...Array(10).keys()];

const { aggregator } = await (await fetch("/settings.json")).json();
const names = await classNames();
const test = await load("t10k", { classes: CLASSES, count: TEST_PER_CLASS });
const view = openView({ names, test });

/**
 * Each tab has half of the classes: the odd tabs one half, the even ones the other; and other
 * images than the tab before.
 */
async function ownImages(tab) {
  const classes = CLASSES.filter((label) => label % 2 === tab % 2);
  const skip = (Math.floor((tab - 1) / 2) % 10) * OWN_PER_CLASS;
  return load("train", { classes, count: OWN_PER_CLASS, skip });
}

/** Takes part as the `tab`th client of this browser. */
async function takePart(tab) {
  const data = await ownImages(tab);
  const client = new FederatedClient({
    url: aggregator,
    state: `tab-${tab}`,
    data,
  });
  client.on("line", ({ up, reason }) => {
    if (up) view.joined(tab, data.y);
    view.line(up ? "" : `No line to ${aggregator} (${reason}).`);
  });
  client.on("wait", ({ reason }) => view.waits(reason));
  client.on("progress", (progress) => view.progress(progress));
  client.on("assignment", (event) => view.assignment(event));
  client.on("problem", ({ message }) => view.line(message));
  client.on("model", async ({ round }) => view.model(round, await client.predict(test.x)));
  return client.run();
}

/** A state belongs to one tab at a time, so the first one that no other tab has is this tab's. */
async function takePartAsNext() {
  for (let tab = 1; ; tab++)
    try {
      return await takePart(tab);
    } catch (error) {
      if (error.code !== "state-locked") throw error;
    }
}

try {
  const { reason, message } = await takePartAsNext();
  view.ended(reason, message);
} catch (error) {
  view.ended("failed", error.message);
}
