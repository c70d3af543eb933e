import { makeDataset, sharedArray, unexpected, type Dataset } from "./dataset.js";

/** How windows are cut from series, and what one is compared with. */
export interface WindowOptions {
  /** Rows of a window, and from the beginning of one to that of the next. */
  readonly window: number;
  readonly stride?: number;
  /**
   * `next`: the numbers of the row behind it, all of them or the columns named; `input`: itself;
   * `label`: the class of its last row.
   */
  readonly target: "next" | "input" | "label";
  readonly columns?: readonly string[];
}

/**
 * Windows of a long series whose rows are the examples of `rows`, [channels]: a data set of shape
 * [window, channels]. Rows of one group one behind the other are one series, and no window goes
 * over its end. The rows stay in memory once: windows are where each begins.
 * @throws DataError `count` where a series is shorter than a window (with the row behind it) and
 * there is no longer one, `column` for a name that no column has, `label` where rows have none
 */
export function windowsOf(source: string, rows: Dataset, options: WindowOptions): Dataset {
  const { window, stride = window, target } = options;
  const { shape, inputs, labels, classes, groups, alphabetical } = rows;
  const [channels] = shape;
  const count = labels.length;
  const reach = target === "next" ? window + 1 : window;
  if (target === "label" && labels.every((label) => label < 0))
    throw unexpected(
      "label",
      source,
      "rows",
      "a label each (or --target next, or --target input, which need none)",
      "none",
    );
  const first: number[] = [];
  const series: number[] = [];
  let number = 0;
  for (let begin = 0; begin < count; number++) {
    let end = begin + 1;
    while (end < count && groups?.[end] === groups?.[begin]) end++;
    for (let row = begin; row + reach <= end; row += stride) {
      first.push(row);
      series.push(number);
    }
    begin = end;
  }
  if (first.length === 0)
    throw unexpected(
      "count",
      source,
      "rows",
      `a series of at least ${reach} for windows of ${window}${target === "next" ? " and the row behind" : ""}`,
      `${count} in ${number} series`,
    );
  const dataset = makeDataset(source, {
    shape: [window, channels],
    inputs,
    starts: starts(first, channels),
    ...(target !== "next" && {
      labels: labels.every((label) => label < 0)
        ? undefined
        : first.map((row) => labels[row + window - 1]),
      classes,
      alphabetical,
    }),
    groups: groups && first.map((row) => groups[row]),
    ...(target === "next" && { targets: nextOf(source, rows, first, options) }),
  });
  return {
    ...dataset,
    windows: { span: reach * channels, series: Uint32Array.from(series) },
  };
}

const starts = (first: readonly number[], size: number): Uint32Array => {
  const all = sharedArray(Uint32Array, first.length);
  first.forEach((row, i) => (all[i] = row * size));
  return all;
};

/** The row behind each window: of the series itself, or some of its columns. */
function nextOf(
  source: string,
  { shape: [channels], inputs, columns }: Dataset,
  first: readonly number[],
  { window, columns: wanted }: WindowOptions,
) {
  const behind = first.map((row) => row + window);
  const kind = "numbers" as const;
  if (wanted === undefined)
    return {
      ...{ kind, size: channels, values: inputs, starts: starts(behind, channels) },
      ...(columns && { columns }),
    };
  const places = wanted.map((name) => {
    const place = columns?.indexOf(name) ?? -1;
    const index = place >= 0 ? place : Number(name);
    if (!(Number.isInteger(index) && index >= 0 && index < channels))
      throw unexpected(
        "column",
        source,
        "target column",
        columns ? `one of ${columns.slice(0, 10).join(", ")}` : `a place below ${channels}`,
        JSON.stringify(name),
      );
    return index;
  });
  const values = sharedArray(Float32Array, (places.length * inputs.length) / channels);
  for (let i = 0; i < values.length; i++)
    values[i] = inputs[Math.floor(i / places.length) * channels + places[i % places.length]];
  return {
    ...{ kind, size: places.length, values, starts: starts(behind, places.length) },
    columns: wanted,
  };
}
