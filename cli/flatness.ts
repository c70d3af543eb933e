import { setMaxListeners } from "node:events";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { SingleBar } from "cli-progress";
import Table from "cli-table3";
import { matched } from "../runtime/data/matching.js";
import { hessian, layersOf, wholeOf } from "../runtime/flatness/hessian.js";
import { lanczos } from "../runtime/flatness/lanczos.js";
import { lossSlice, type Slice } from "../runtime/flatness/slice.js";
import { TOLERANCE } from "../runtime/flatness/top-eigenvalue.js";
import { EXACT_UP_TO, trace } from "../runtime/flatness/trace.js";
import { ConfigError } from "../runtime/errors.js";
import { expectedBy, type Model } from "../runtime/models/model.js";
import { networkOf } from "../runtime/models/network.js";
import { makeFolder } from "../runtime/platform/node-files.js";
import { nodePlatform } from "../runtime/platform/node.js";
import { trainerOf } from "../runtime/training/trainer.js";
import { openData, openOptions, optionsFor } from "./data.js";
import { landscape } from "./plots/landscape.js";
import { savePicture } from "./plots/save.js";
import { readModel } from "./model-file.js";
import { sampleOf } from "./sample.js";
import type { SettingsOf } from "./settings.js";
import { writeJson, writeWhole } from "./write.js";

/** What was measured of one block of the Hessian. */
interface BlockFlatness {
  /** `all`, or a layer. */
  readonly block: string;
  readonly parameters: number;
  /** Largest algebraic eigenvalues, descending, and their residuals. */
  readonly eigenvalues: readonly number[];
  readonly residuals: readonly number[];
  readonly trace: number;
  /**
   * Standard error of the trace; 0 where it is exact, which it is for networks of up to 5,000
   * parameters.
   */
  readonly traceError: number;
  /** Hessian-vector products spent. */
  readonly products: number;
}

/** What `flatness.json` holds. */
export interface Flatness {
  readonly examples: number;
  readonly seed: number;
  readonly blocks: readonly BlockFlatness[];
}

/**
 * `fedflat flatness`: the Hessian's largest eigenvalues and trace, and a slice of the loss
 * landscape, of a run's model.
 */
export async function flatness(
  settings: SettingsOf<"flatness">,
  signal: AbortSignal,
): Promise<void> {
  const { top, probes, seed, json } = settings;
  const colours = coloursOf(settings.sliceColours);
  const model = await readModel(settings.modelFolder);
  const opened = await openData(settings.data, optionsFor(model, openOptions(settings)));
  const dataset = matched("data", opened.train ?? opened.test!, expectedBy(model));
  const part = sampleOf(dataset, settings.samples, seed);
  const folder = settings.outcome ?? settings.modelFolder;

  // Every job under way listens to it.
  setMaxListeners(0, signal);
  const bar = progressBar(json);
  const workers = availableParallelism();
  const { startWorker } = nodePlatform({ relaxedSimd: true });
  const trainer = trainerOf(startWorker, workers);
  try {
    const productsOf = hessian(trainer, model, part, signal);
    const blocks: BlockFlatness[] = [];
    const { layout } = networkOf(model.description).shares.learning;
    for (const block of [
      wholeOf(layout),
      ...(settings.perLayer ? layersOf(model.description) : []),
    ]) {
      const product = productsOf(block);
      const spectrum = await lanczos(product, block.size, {
        count: top,
        seed,
        tolerance: TOLERANCE,
        onStep: bar.of(`${block.name}: eigenvalues`),
      });
      const found = await trace(product, block.size, {
        probes,
        seed,
        // A product with a block costs as much as one with the whole: unit vectors pay in a small
        // network only.
        estimate: layout.size > EXACT_UP_TO && block.size > probes,
        onStep: bar.of(`${block.name}: trace`),
      });
      blocks.push({
        block: block.name,
        parameters: block.size,
        eigenvalues: spectrum.values,
        residuals: spectrum.residuals,
        trace: found.value,
        traceError: found.standardError,
        products: spectrum.steps + found.products,
      });
    }
    makeFolder(folder);
    const result: Flatness = { examples: part.rows.length, seed, blocks };
    await writeJson(join(folder, "flatness.json"), result);
    const files = [join(folder, "flatness.json")];
    if (settings.slice) {
      const slice = await lossSlice(trainer, model, part, {
        radius: settings.sliceRadius,
        points: settings.slicePoints,
        seed,
        signal,
        onPoint: bar.of("loss landscape"),
      });
      const path = join(folder, "slice");
      await writeWhole(`${path}.csv`, csvOf(slice));
      const title = `Loss around the weights, ${part.rows.length} examples`;
      await savePicture(path, landscape(title, slice, colours));
      files.push(`${path}.csv`, `${path}.svg`, `${path}.png`);
    }
    bar.stop();
    if (json) process.stdout.write(`${JSON.stringify({ event: "done", ...result, files })}\n`);
    else
      process.stdout.write(
        `${tableOf(result)}\nHessian of the mean ${lossOf(model)} over ${part.rows.length} examples. Written: ${files.join(", ")}\n`,
      );
  } catch (error) {
    if (!signal.aborted) throw error;
    bar.stop();
    process.stderr.write("stopped; nothing is left half-written\n");
  } finally {
    bar.stop();
    trainer.close();
  }
}

const lossOf = ({ description }: Model) =>
  ["numbers", "input"].includes(networkOf(description).loss.task) ? "loss" : "cross-entropy";

/** A bar that says which work is how far; only on a terminal. */
function progressBar(json: boolean) {
  const bar = new SingleBar({
    format: "  {bar} {value}/{total}  {doing}",
    barsize: 30,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    clearOnComplete: true,
    hideCursor: true,
    stream: process.stderr,
  });
  const shown = !json && process.stderr.isTTY;
  let doing: string | undefined;
  return {
    of: (work: string) => (done: number, all: number) => {
      if (!shown) return;
      if (doing !== work) bar.start(all, done, { doing: work });
      else bar.update(done);
      doing = work;
    },
    stop() {
      if (doing !== undefined) bar.stop();
      doing = undefined;
    },
  };
}

/** One line a point: both coordinates and the mean loss there. */
const csvOf = ({ coordinates, losses }: Slice): string =>
  [
    "first,second,loss",
    ...coordinates.flatMap((second, i) =>
      coordinates.map((first, j) => `${first},${second},${losses[i][j]}`),
    ),
    "",
  ].join("\n");

function tableOf({ blocks }: Flatness): string {
  const table = new Table({
    head: ["Block", "Parameters", "Largest eigenvalues", "Trace", "Products"],
    colAligns: ["left", "right", "right", "right", "right"],
    style: { head: [], border: [] },
  });
  table.push(
    ...blocks.map((block) => [
      block.block,
      String(block.parameters),
      block.eigenvalues.map((value) => value.toPrecision(5)).join("\n"),
      block.traceError === 0
        ? block.trace.toPrecision(5)
        : `${block.trace.toPrecision(5)} ± ${block.traceError.toPrecision(2)}`,
      String(block.products),
    ]),
  );
  return table.toString();
}

/** The ends of a colour scale, such as 0.5:20. @throws ConfigError `usage` */
function coloursOf(text: string | undefined): readonly [number, number] | undefined {
  if (text === undefined) return undefined;
  const [lowest, highest, ...others] = text.split(":").map(Number);
  if (!(lowest > 0 && highest > lowest && highest < Infinity) || others.length > 0)
    throw new ConfigError(
      "usage",
      `"--slice-colours" expected two losses, the lower one first and above 0, such as 0.5:20, got "${text}"`,
    );
  return [lowest, highest];
}
