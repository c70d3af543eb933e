import { closeSync, fstatSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { pino } from "pino";
import type { Log } from "../aggregator/log.js";
import { makeFolder } from "../runtime/platform/node-files.js";
import { inWords } from "../runtime/platform/system-errors.js";
import { printableJson } from "../runtime/protocol/printable.js";

/** Priorities of syslog, by which journald files a line that names one (sd-daemon(3)). */
const PRIORITY: Readonly<Record<string, number>> = { info: 6, warn: 4, error: 3 };

/**
 * The log of a run: JSON lines at the end of a file that is opened with the first of them, or `-`
 * for standard error. At half of `mostBytes` the file turns over: what it held is kept as FILE.1,
 * in place of what was there.
 */
export function logInto(file: string, mostBytes = Infinity): Log {
  const write = file === "-" ? toStandardError() : toFile(file, mostBytes / 2);
  const options = { formatters: { level: (level: string) => ({ level }) } };
  let log: Log | undefined;
  const opened = () => (log ??= pino(options, { write: (line) => write(printableLine(line)) }));
  return {
    info: (facts, sentence) => opened().info(facts, sentence),
    warn: (facts, sentence) => opened().warn(facts, sentence),
    error: (facts, sentence) => opened().error(facts, sentence),
  };
}

const printableLine = (line: string): string => `${printableJson(line.trimEnd())}\n`;

function toStandardError(): (line: string) => void {
  process.stderr.on("error", () => {});
  // Set by systemd where standard error leads to its journal.
  if (process.env.JOURNAL_STREAM === undefined) return (line) => void process.stderr.write(line);
  return (line) => {
    const [, level] = /^\{"level":"(\w+)"/.exec(line) ?? [];
    process.stderr.write(`<${PRIORITY[level] ?? PRIORITY.info}>${line}`);
  };
}

/**
 * Line by line and at once, so that a process that dies has said why. A run does not end because
 * its log cannot be written.
 */
function toFile(file: string, most: number): (line: string) => void {
  let open: number | undefined;
  let size = 0;
  let failed = false;
  const write = (bytes: Buffer) => {
    if (open !== undefined && size > 0 && size + bytes.length > most) {
      closeSync(open);
      open = undefined;
      renameSync(file, `${file}.1`);
    }
    if (open === undefined) {
      makeFolder(dirname(file));
      open = openSync(file, "a");
      ({ size } = fstatSync(open));
    }
    size += bytes.length;
    for (let at = 0; at < bytes.length;) at += writeSync(open, bytes, at);
  };
  return (line) => {
    try {
      write(Buffer.from(line));
      failed = false;
    } catch (error) {
      if (!failed)
        process.stderr.write(
          `fedflat: "${file}" expected a log that can be written, got ${inWords(error)}\n`,
        );
      failed = true;
    }
  };
}
