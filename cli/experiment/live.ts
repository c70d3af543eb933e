import { printableJson, printableLines } from "../../runtime/protocol/printable.js";
import { columnsNow, cutLines, openLines } from "../view.js";

/** What a run under way has to show. */
export interface RunStatus {
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
  /** What a lane does now; nothing when it rests. */
  lane(number: number, status: RunStatus | undefined): void;
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
    lane: (lane, status) => status && write({ event: "progress", lane, ...status }),
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

/** Columns of a bar: at most, and at least. */
const [LONGEST, SHORTEST] = [24, 5];

/**
 * A bar with what it stands for, in one line of at most so many columns: the bar gives way first,
 * then the name, whose end tells runs apart, at its beginning.
 */
export function statusLine(columns: number, { name, round, rounds, doing }: RunStatus): string {
  const of = `${round}/${rounds}`;
  const words = (name: string) => [of, name, doing].filter((word) => word !== "").join("  ");
  const room = columns - 4 - words(name).length;
  const size = Math.max(SHORTEST, Math.min(LONGEST, room));
  const surplus = Math.max(0, size - room);
  const short = surplus === 0 ? name : `…${name.slice(surplus + 1)}`;
  const done = Math.round(size * Math.min(1, round / Math.max(1, rounds)));
  const bar = "█".repeat(done) + "░".repeat(size - done);
  return `  ${bar}  ${words(short)}`.slice(0, columns);
}

/**
 * One line for each lane with a run, and one for the whole, redrawn in place; what is finished
 * scrolls away above them.
 */
function terminalView(lanes: number): LiveView {
  const lines = openLines();
  const running = Array<RunStatus | undefined>(lanes).fill(undefined);
  let whole: RunStatus = { name: "all runs", round: 0, rounds: 1, doing: "" };
  const draw = () => {
    // The last column is left free: a terminal may begin a new line after it.
    const columns = columnsNow() - 1;
    const statuses = [...running.filter((one) => one !== undefined), whole];
    lines.show(statuses.map((one) => statusLine(columns, one)));
  };
  return {
    lane(number, status) {
      running[number] = status;
      draw();
    },
    say(_event, _facts, sentence) {
      lines.clear();
      const columns = columnsNow();
      print(cutLines(printableLines(sentence), columns).join("\n"));
      draw();
    },
    total(done, all) {
      whole = { ...whole, round: done, rounds: all };
      draw();
    },
    close: lines.clear,
  };
}
