import { MultiBar, type SingleBar } from "cli-progress";
import { printableJson, printableLines } from "../../runtime/protocol/printable.js";
import { cutLines } from "../view.js";

/** What a run under way has to show. */
export interface Standing {
  /** Which run. */
  readonly name: string;
  readonly round: number;
  readonly rounds: number;
  /** Its newest figures in words, or what it is doing. */
  readonly doing: string;
}

/**
 * How an experiment shows what it does: to a person at a terminal, in a plain log, or to a program.
 */
interface LiveView {
  /** What is going on in a lane; nothing when it rests. */
  lane(number: number, standing: Standing | undefined): void;
  /** One thing that happened: an object for programs, a sentence for people. */
  say(event: string, facts: Readonly<Record<string, unknown>>, sentence: string): void;
  /** How many of the runs are done. */
  total(done: number, all: number): void;
  close(): void;
}

/** The view that fits where standard output leads to. */
export function openLiveView(json: boolean, lanes: number): LiveView {
  if (json) return programView();
  return process.stdout.isTTY ? terminalView(lanes) : plainView();
}

const print = (line: string) => void process.stdout.write(`${line}\n`);

function programView(): LiveView {
  const write = (fact: unknown) => print(printableJson(JSON.stringify(fact)));
  return {
    lane: (lane, standing) => standing && write({ event: "progress", lane, ...standing }),
    say: (event, facts) => write({ event, ...facts }),
    total() {},
    close() {},
  };
}

const plainView = (): LiveView => ({
  lane() {},
  say: (_event, _facts, sentence) => print(printableLines(sentence)),
  total() {},
  close() {},
});

/**
 * A table that is redrawn in place: one row for each lane, one for the whole; what is finished
 * scrolls away above it.
 */
function terminalView(lanes: number): LiveView {
  const bars = new MultiBar({
    format: "  {bar} {of}  {name}  {doing}",
    barsize: 24,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    clearOnComplete: true,
    stream: process.stdout,
    forceRedraw: true,
  });
  const rest = { of: "", name: "", doing: "" };
  const rows: SingleBar[] = Array.from({ length: lanes }, () => bars.create(1, 0, { ...rest }));
  const whole = bars.create(1, 0, { ...rest, name: "all runs" });
  return {
    lane(number, standing) {
      const row = rows[number];
      if (standing === undefined) {
        row.setTotal(1);
        row.update(0, rest);
        return;
      }
      const { round, rounds, name, doing } = standing;
      row.setTotal(Math.max(1, rounds));
      row.update(round, { of: `${round}/${rounds}`, name, doing });
    },
    say(_event, _facts, sentence) {
      // A terminal with bars cuts what is longer than a line, and leaves what a longer bar had there.
      const columns = (process.stdout.columns || 80) - 1;
      for (const line of cutLines(printableLines(sentence), columns)) bars.log(`${line}\x1b[K\n`);
      bars.update();
    },
    total(done, all) {
      whole.setTotal(all);
      whole.update(done, { of: `${done}/${all}` });
    },
    close: () => bars.stop(),
  };
}
