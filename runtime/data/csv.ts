import { makeDataset, sharedBuffer, unexpected, type Dataset } from "./dataset.js";

export interface CsvOptions {
  /**
   * Whether the first line names the columns; left out: it does when no field of it is a number.
   */
  readonly header?: boolean;
  /**
   * Column of the label by name or index (from 0, negative from the end); left out: one of
   * LABEL_NAMES, else the last.
   */
  readonly label?: string | number;
  /** Column of the group; left out: one of GROUP_NAMES, where there is one. */
  readonly group?: string | number;
  /**
   * Class names in label order. Without them labels are numbers from 0, or texts numbered in
   * alphabetical order.
   */
  readonly classes?: readonly string[];
  /** Shape of an example, such as [28, 28, 1]; left out: [columns]. */
  readonly shape?: readonly number[];
  /**
   * Allow data without a label column (no such name, or without a header just the columns of
   * `shape`): labels are then -1.
   */
  readonly unlabelled?: boolean;
}

const LABEL_NAMES = ["label", "class", "target", "y"];
const GROUP_NAMES = ["group", "subject", "client"];
/** What fits one string of V8. */
const MAX_BYTES = 2 ** 29 - 32;
const INTEGER = /^-?\d+$/;

/**
 * One example a line (RFC 4180; also with `;` or tab between fields): a label, optionally a group, and all other columns
 * are numbers of the input.
 * @throws DataError `column`, `count`, `number`, `label`, `group`, `shape`, `not-finite`
 */
export function readCsv(source: string, bytes: Uint8Array, options: CsvOptions = {}): Dataset {
  if (bytes.length > MAX_BYTES)
    throw unexpected(
      "too-large",
      source,
      "size",
      `at most ${MAX_BYTES} bytes of text (use NPZ for more)`,
      String(bytes.length),
    );
  const text = new TextDecoder().decode(bytes);
  const firstLine = text.slice(0, text.indexOf("\n") + 1 || text.length);
  const delimiter = [",", ";", "\t"].reduce((best, candidate) =>
    firstLine.split(candidate).length > firstLine.split(best).length ? candidate : best,
  );
  const lines = records(source, text, delimiter);
  const first = lines.next().value;
  if (!first) throw unexpected("count", source, "lines", "at least one", "none");
  const width = first.fields.length;
  const named = options.header ?? !first.fields.some(isNumber);
  const columns = named ? first.fields : Array.from({ length: width }, (_, i) => String(i));

  const labelColumn =
    options.label !== undefined
      ? column(source, "label", options.label, columns, named)
      : named
        ? guess(columns, LABEL_NAMES)
        : options.unlabelled && width === sizeOf(options.shape)
          ? -1
          : width - 1;
  if (labelColumn < 0 && !options.unlabelled)
    throw unexpected(
      "column",
      source,
      "label column",
      `one named ${LABEL_NAMES.join(", ")}, or the name of another`,
      `columns ${columns.slice(0, 10).join(", ")}`,
    );
  const groupColumn =
    options.group !== undefined
      ? column(source, "group", options.group, columns, named)
      : named
        ? guess(columns, GROUP_NAMES)
        : -1;
  const features = [...columns.keys()].filter((i) => i !== labelColumn && i !== groupColumn);
  const shape = options.shape ?? [features.length];
  if (sizeOf(shape) !== features.length)
    throw unexpected(
      "shape",
      source,
      "columns",
      `${shape.join("x")} numbers beside label and group`,
      String(features.length),
    );

  // There are at most as many records as lines; what blank lines leave over is cut off at the end.
  const most = text.split("\n").length;
  const inputs = new Float32Array(sharedBuffer(4 * most * features.length));
  const labels: string[] = [];
  const groups: string[] = [];
  let out = 0;
  const take = ({ line, fields }: Line): void => {
    if (fields.length !== width)
      throw unexpected("count", source, `line ${line}`, `${width} fields`, String(fields.length));
    for (const i of features) {
      const field = fields[i];
      if (!isNumber(field))
        throw unexpected(
          "number",
          source,
          `line ${line}, column "${columns[i]}"`,
          "a number",
          JSON.stringify(field.slice(0, 40)),
        );
      inputs[out++] = Number(field);
    }
    if (labelColumn >= 0) labels.push(fields[labelColumn].trim());
    if (groupColumn >= 0) groups.push(fields[groupColumn].trim());
  };
  if (!named) take(first);
  for (const line of lines) take(line);

  return makeDataset(source, {
    shape,
    inputs: inputs.subarray(0, out),
    ...(labelColumn >= 0
      ? numbered(source, labels, options.classes)
      : { classes: options.classes }),
    groups: groupColumn >= 0 ? groupNumbers(groups) : undefined,
  });
}

interface Line {
  readonly line: number;
  readonly fields: readonly string[];
}

/**
 * The records of a text, blank lines left out. A quoted field may hold delimiters, line breaks and
 * doubled quotes.
 */
function* records(source: string, text: string, delimiter: string): Generator<Line, undefined> {
  let at = 0;
  let line = 0;
  while (at < text.length) {
    const firstLine = ++line;
    let end = at;
    let quotes = 0;
    for (;;) {
      const next = text.indexOf("\n", end);
      const stop = next < 0 ? text.length : next;
      for (let i = end; i < stop; i++) if (text[i] === '"') quotes++;
      end = stop;
      if (quotes % 2 === 0) break;
      if (next < 0)
        throw unexpected(
          "quote",
          source,
          `line ${firstLine}`,
          "a closing quote",
          "the end of the file",
        );
      end++;
      line++;
    }
    const record = text.slice(at, end).replace(/\r$/, "");
    at = end + 1;
    if (record.trim() === "") continue;
    const fields = quotes === 0 ? record.split(delimiter) : quoted(record, delimiter);
    yield { line: firstLine, fields };
  }
  return undefined;
}

function quoted(record: string, delimiter: string): string[] {
  const fields = [""];
  let inside = false;
  for (let i = 0; i < record.length; i++) {
    const letter = record[i];
    if (letter === '"' && inside && record[i + 1] === '"') i++;
    else if (letter === '"') {
      inside = !inside;
      continue;
    }
    if (letter === delimiter && !inside) fields.push("");
    else fields[fields.length - 1] += letter;
  }
  return fields;
}

function sizeOf(shape?: readonly number[]): number | undefined {
  return shape?.reduce((product, n) => product * n, 1);
}

function isNumber(field: string): boolean {
  return field.trim() !== "" && !Number.isNaN(Number(field));
}

function guess(columns: readonly string[], names: readonly string[]): number {
  return columns.findIndex((name) => names.includes(name.trim().toLowerCase()));
}

function column(
  source: string,
  what: string,
  wanted: string | number,
  columns: readonly string[],
  named: boolean,
): number {
  const byName = named ? columns.findIndex((name) => name.trim() === String(wanted)) : -1;
  const index = Number(wanted);
  const found = byName >= 0 ? byName : index < 0 ? columns.length + index : index;
  if (!(Number.isInteger(found) && found >= 0 && found < columns.length))
    throw unexpected(
      "column",
      source,
      `${what} column`,
      `a name of its columns (${columns.slice(0, 10).join(", ")}) or an index below ${columns.length}`,
      JSON.stringify(wanted),
    );
  return found;
}

/**
 * Class numbers of label texts: by name where names are known, else integers as they are, else
 * texts in sorted order.
 */
function numbered(
  source: string,
  labels: readonly string[],
  classes?: readonly string[],
): { labels: ArrayLike<number>; classes?: readonly string[] } {
  const integers = labels.every((label) => INTEGER.test(label));
  const names = classes ?? (integers ? undefined : [...new Set(labels)].sort());
  const numbers = new Map(names?.map((name, i) => [name, i]));
  const unknown = labels.findIndex((label) => !numbers.has(label));
  if (names && unknown < 0)
    return {
      labels: labels.map((label) => numbers.get(label)!),
      classes: names,
    };
  if (integers) return { labels: labels.map(Number), classes };
  throw unexpected(
    "label",
    source,
    `label of example ${unknown}`,
    `one of the class names ${names?.slice(0, 10).join(", ")}`,
    JSON.stringify(labels[unknown].slice(0, 40)),
  );
}

/** Integers as they are, else texts numbered in sorted order. */
function groupNumbers(groups: readonly string[]): number[] {
  if (groups.every((group) => INTEGER.test(group))) return groups.map(Number);
  const numbers = new Map([...new Set(groups)].sort().map((name, i) => [name, i]));
  return groups.map((group) => numbers.get(group)!);
}
