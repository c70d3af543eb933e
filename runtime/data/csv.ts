import { elements } from "../tensors/shape.js";
import { makeDataset, sharedArray, unexpected, type Dataset } from "./dataset.js";
import { groupNumbers, isNumber, labelsOf } from "./labels.js";
import { textOf } from "./text.js";

export interface CsvOptions {
  /**
   * Whether the first line names the columns; left out: it does when no field of it is a number, or
   * one is the label's name.
   */
  readonly header?: boolean;
  /**
   * Column of the label by name or index (from 0, negative from the end); left out: the one named
   * label, class, target or y, without names the last.
   */
  readonly label?: string | number;
  /** Columns of numbers, by name or index, that an example is compared with instead of a label. */
  readonly targets?: readonly (string | number)[];
  /** Rows of a series, of which windows are cut: a label only where a column has its name. */
  readonly series?: boolean;
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

/** Names that a label's column may bear; two of them in one file are one too many. */
const LABEL_NAMES = ["label", "class", "target"];
/** Taken where there is none of them; beside a `z` it is an axis. */
const LAST_RESORT = "y";
const GROUP_NAMES = ["group", "subject", "client"];

/**
 * One example a line (RFC 4180; also with `;` or tab between fields): a label or number targets, optionally a group,
 * and all other columns are numbers of the input.
 * @throws DataError `encoding`, `column`, `count`, `number`, `label`, `group`, `shape`, `not-finite`
 */
export function readCsv(source: string, bytes: Uint8Array, options: CsvOptions = {}): Dataset {
  const text = textOf(source, bytes);
  const delimiter = delimiterOf(text);
  const lines = records(source, text, delimiter);
  const first = lines.next().value;
  if (!first) throw unexpected("count", source, "lines", "at least one", "none");
  const layout = layoutOf(source, first, options);
  const { width, named, columns, labelColumn, targetColumns, groupColumn, features, shape } =
    layout;
  const refuse = (code: string, line: number, i: number, expected: string, got: string) =>
    unexpected(code, source, `line ${line}, column "${columns[i]}"`, expected, got);

  // There are at most as many records as lines; what blank lines leave over is cut off at the end.
  const most = text.split("\n").length;
  const inputs = sharedArray(Float32Array, most * features.length);
  const targets = sharedArray(Float32Array, most * targetColumns.length);
  const labels: string[] = [];
  const groups: string[] = [];
  const numbers: number[] = [];
  let out = 0;
  let targetsOut = 0;
  const numberIn = ({ line, fields }: Line, i: number): number => {
    const field = fields[i];
    if (!isNumber(field)) throw refuse("number", line, i, "a number", shown(field));
    const value = Number(field);
    // float32 ends at 3.4e38.
    if (!Number.isFinite(Math.fround(value)))
      throw refuse("not-finite", line, i, "a finite number", shown(field));
    return value;
  };
  const take = (whole: Line): void => {
    const { line, fields } = whole;
    const got = fields.length - (layout.trailing ? 1 : 0);
    if (got !== width)
      throw unexpected("count", source, `line ${line}`, `${width} fields`, String(got));
    if (layout.trailing && fields[width].trim() !== "")
      throw unexpected(
        "column",
        source,
        `line ${line}`,
        `nothing behind the last ${JSON.stringify(delimiter)}, as in the first line`,
        shown(fields[width]),
      );
    for (const i of features) inputs[out++] = numberIn(whole, i);
    for (const i of targetColumns) {
      // Of data to predict a column of targets may still be empty.
      if (options.unlabelled && fields[i].trim() === "") continue;
      targets[targetsOut++] = numberIn(whole, i);
    }
    numbers.push(line);
    if (labelColumn >= 0) labels.push(fields[labelColumn].trim());
    if (groupColumn >= 0) {
      const group = fields[groupColumn].trim();
      if (group === "") throw refuse("group", line, groupColumn, "a group", "nothing");
      groups.push(group);
    }
  };
  if (!named) take(first);
  for (const line of lines) take(line);

  const size = targetColumns.length;
  if (targetsOut > 0 && targetsOut < size * numbers.length)
    throw unexpected("target", source, "targets", "one in every line or in none", "some");
  const where = (i: number) => `line ${numbers[i]}, column "${columns[labelColumn]}"`;
  return makeDataset(source, {
    shape,
    inputs: inputs.subarray(0, out),
    targets:
      targetsOut > 0
        ? {
            ...{ kind: "numbers", size, values: targets.subarray(0, targetsOut) },
            ...(named && { columns: targetColumns.map((i) => columns[i]) }),
          }
        : undefined,
    // Of data to predict a column of labels may still be empty.
    ...(labelColumn >= 0 && !(options.unlabelled && labels.every((label) => label === ""))
      ? labelsOf(source, labels, where, options.classes)
      : { classes: options.classes }),
    groups: groupColumn >= 0 ? groupNumbers(groups) : undefined,
    columns: named ? features.map((i) => columns[i]) : undefined,
  });
}

/** What the first line says of all. */
interface Layout {
  readonly width: number;
  readonly named: boolean;
  readonly columns: readonly string[];
  /** -1 for none. */
  readonly labelColumn: number;
  readonly targetColumns: readonly number[];
  readonly groupColumn: number;
  readonly features: readonly number[];
  readonly shape: readonly number[];
  /** Every line ends with a delimiter, behind which nothing stands. */
  readonly trailing: boolean;
}

function layoutOf(source: string, first: Line, options: CsvOptions): Layout {
  const { length } = first.fields;
  const trailing = length > 1 && first.fields[length - 1].trim() === "";
  const width = trailing ? length - 1 : length;
  const fields = first.fields.slice(0, width).map((field) => field.trim());
  const named = options.header ?? namesColumns(source, fields, options);
  const columns = named ? fields : Array.from(fields, (_, i) => String(i));
  const nameless = columns.indexOf("");
  if (nameless >= 0)
    throw unexpected(
      "column",
      source,
      `line ${first.line}`,
      "a name for every column",
      `none for column ${nameless + 1} (an index? pandas leaves it out with to_csv(..., index=False))`,
    );

  const targetColumns = (options.targets ?? []).flatMap((target) => {
    // Data to predict may lack them.
    if (options.unlabelled && named && !columns.includes(String(target))) return [];
    return [column(source, "target", target, columns, named)];
  });
  if (new Set(targetColumns).size < targetColumns.length)
    throw unexpected("column", source, "target columns", "each once", "one of them twice");
  const labelColumn = options.targets ? -1 : labelPlace(source, columns, named, options);
  const groupColumn =
    options.group !== undefined
      ? column(source, "group", options.group, columns, named)
      : named
        ? (among(columns, GROUP_NAMES).at(0) ?? -1)
        : -1;
  const beside = [labelColumn, groupColumn, ...targetColumns];
  const features = [...columns.keys()].filter((i) => !beside.includes(i));
  const shape = options.shape ?? [features.length];
  if (sizeOf(shape) !== features.length)
    throw unexpected(
      "shape",
      source,
      "columns",
      `${shape.join("x")} numbers beside ${options.targets ? "targets" : "label"} and group`,
      String(features.length),
    );
  return {
    ...{
      width,
      named,
      columns,
      labelColumn,
      targetColumns,
      groupColumn,
      features,
      shape,
      trailing,
    },
  };
}

/** Whether the first line's fields are the columns' names. @throws DataError `column` where they could be either. */
function namesColumns(
  source: string,
  fields: readonly string[],
  { label, targets }: CsvOptions,
): boolean {
  const numbers = fields.filter(isNumber).length;
  if (numbers === 0) return true;
  const given = (targets ?? [label]).filter((one) => typeof one === "string" && !isNumber(one));
  const names = given.length > 0 ? given.map(String) : LABEL_NAMES;
  if (among(fields, names).length > 0) return true;
  // pandas names columns 0, 1, 2 where nobody else does.
  const counted = fields.every(
    (field, i) => field === String(i) || (numbers === i && !isNumber(field)),
  );
  if (counted && fields.length >= 3 && numbers >= fields.length - 1)
    throw unexpected(
      "column",
      source,
      "line 1",
      "names of columns, or an example",
      `${fields.slice(0, 10).join(", ")}, which could be either (name the label's column: label)`,
    );
  return false;
}

/**
 * The label's column, or -1 where there may be none and is none.
 * @throws DataError `column` where there is none, or two could be meant
 */
function labelPlace(
  source: string,
  columns: readonly string[],
  named: boolean,
  { label, series, unlabelled, shape }: CsvOptions,
): number {
  if (label !== undefined) return column(source, "label", label, columns, named);
  if (series) return named ? (among(columns, LABEL_NAMES).at(0) ?? -1) : -1;
  if (unlabelled && columns.length === sizeOf(shape)) return -1;
  if (!named) return columns.length - 1;
  const axes = among(columns, ["z"]).length > 0;
  const clear = among(columns, LABEL_NAMES);
  const found = clear.length > 0 || axes ? clear : among(columns, [LAST_RESORT]);
  if (found.length > 1)
    throw unexpected(
      "column",
      source,
      "label column",
      "one that could be meant, or its name (--label)",
      found.map((i) => columns[i]).join(" and "),
    );
  if (found.length === 0 && !unlabelled)
    throw unexpected(
      "column",
      source,
      "label column",
      `one named ${[...LABEL_NAMES, ...(axes ? [] : [LAST_RESORT])].join(", ")}, or the name of another (--label), or of numbers to learn (--target)`,
      `columns ${columns.slice(0, 10).join(", ")}`,
    );
  return found.at(0) ?? -1;
}

/** Places of the columns with one of these names, in capitals or small letters. */
const among = (columns: readonly string[], names: readonly string[]): number[] =>
  [...columns.keys()].filter((i) =>
    names.some((name) => name.toLowerCase() === columns[i].toLowerCase()),
  );

const shown = (field: string): string => JSON.stringify(field.slice(0, 40));

function delimiterOf(text: string): string {
  const firstLine = text.slice(0, text.indexOf("\n") + 1 || text.length);
  return [",", ";", "\t"].reduce((best, candidate) =>
    firstLine.split(candidate).length > firstLine.split(best).length ? candidate : best,
  );
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
  return shape && elements(shape);
}

function column(
  source: string,
  what: string,
  wanted: string | number,
  columns: readonly string[],
  named: boolean,
): number {
  const byName = named ? [...columns.keys()].filter((i) => columns[i] === String(wanted)) : [];
  const index = Number(wanted);
  const found = byName.at(0) ?? (index < 0 ? columns.length + index : index);
  if (byName.length > 1)
    throw unexpected("column", source, `${what} column`, "one", `${byName.length} of that name`);
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
