import { makeDataset, sharedArray, unexpected, type Dataset } from "./dataset.js";

const SIGNALS = ["body_acc", "body_gyro", "total_acc"].flatMap((signal) =>
  ["x", "y", "z"].map((axis) => `${signal}_${axis}`),
);

/** The activities in label order: the files' 1 to 6 become 0 to 5. */
export const HAR_CLASSES = [
  "WALKING",
  "WALKING_UPSTAIRS",
  "WALKING_DOWNSTAIRS",
  "SITTING",
  "STANDING",
  "LAYING",
] as const;

const WINDOW = 128;

/**
 * The files of one half of `UCI HAR Dataset`, relative to it, as `readHar` wants them: nine
 * signals, labels, people.
 */
export function harFiles(half: "train" | "test"): string[] {
  return [
    ...SIGNALS.map((name) => `${half}/Inertial Signals/${name}_${half}.txt`),
    `${half}/y_${half}.txt`,
    `${half}/subject_${half}.txt`,
  ];
}

/**
 * One half of UCI HAR (Anguita et al. 2013): windows of shape [128, 9] (body acceleration, gyroscope, total acceleration,
 * each x y z), the activity as label and the person as group.
 * @param files contents in the order of `harFiles(half)`
 * @throws DataError `count`, `not-finite`, `label`, `group`
 */
export function readHar(half: "train" | "test", files: readonly Uint8Array[]): Dataset {
  const sources = harFiles(half);
  const labelFile = sources[SIGNALS.length];
  const activities = numbers(labelFile, files[SIGNALS.length], 1);
  const people = numbers(sources[SIGNALS.length + 1], files[SIGNALS.length + 1], 1);
  const count = activities.length;
  const channels = SIGNALS.length;
  const inputs = sharedArray(Float32Array, count * WINDOW * channels);
  for (let channel = 0; channel < channels; channel++) {
    const values = numbers(sources[channel], files[channel], WINDOW);
    if (values.length !== count * WINDOW)
      throw unexpected(
        "count",
        sources[channel],
        "lines",
        `${count}, one per label of "${labelFile}"`,
        String(values.length / WINDOW),
      );
    for (let i = 0; i < values.length; i++) inputs[i * channels + channel] = values[i];
  }
  for (let i = 0; i < count; i++) {
    if (!(activities[i] >= 1 && activities[i] <= HAR_CLASSES.length))
      throw unexpected(
        "label",
        labelFile,
        `line ${i + 1}`,
        `an activity from 1 to ${HAR_CLASSES.length}`,
        String(activities[i]),
      );
    activities[i]--;
  }
  return makeDataset(labelFile, {
    shape: [WINDOW, channels],
    inputs,
    labels: activities,
    groups: people,
    classes: HAR_CLASSES,
  });
}

/** The numbers of a text file with so many of them in each line. */
function numbers(source: string, bytes: Uint8Array, perLine: number): Float64Array {
  const lines = new TextDecoder().decode(bytes).trimEnd().split("\n");
  const out = new Float64Array(lines.length * perLine);
  lines.forEach((line, index) => {
    const fields = line.trim().split(/\s+/);
    if (fields.length !== perLine)
      throw unexpected(
        "count",
        source,
        `line ${index + 1}`,
        `${perLine} numbers`,
        String(fields.length),
      );
    for (let i = 0; i < perLine; i++) {
      const value = fields[i] === "" ? NaN : Number(fields[i]);
      if (!Number.isFinite(value))
        throw unexpected(
          "not-finite",
          source,
          `line ${index + 1}`,
          "finite numbers",
          JSON.stringify(fields[i].slice(0, 40)),
        );
      out[index * perLine + i] = value;
    }
  });
  return out;
}
