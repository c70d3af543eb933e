/**
 * Labelled examples as they are held in memory: bytes stay bytes until a batch is made (images as uint8 take a quarter
 * of the space), and a client's part is a list of row numbers, so that many clients can share one data set.
 */
export interface Dataset {
  /** Shape of one example, without the batch: [28, 28, 1], [128, 9]. */
  readonly shape: readonly number[];
  /** Examples end to end, row-major. May lie on a SharedArrayBuffer. */
  readonly inputs: Float32Array | Uint8Array;
  /** One class per example, from 0. */
  readonly labels: Int32Array;
  /** Class names; its length is the number of classes. */
  readonly classes: readonly string[];
  /** One group per example (a person, a device) where the source has one: natural clients. */
  readonly groups?: Int32Array;
}

/** Some rows of a data set. */
export interface Part {
  readonly dataset: Dataset;
  readonly rows: Uint32Array;
}

/**
 * What is done to an input value before the network sees it: (value / scale - mean[c]) / deviation[c], c being its channel
 * (the last axis). mean and deviation have one number, or one per channel. Travels with the model.
 */
export interface Normalisation {
  readonly scale: number;
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** Random changes of a training image, as in the paper's set-up: flip with p 0.5; with p 0.5 a crop from a zero pad. */
export interface Augmentation {
  readonly flip: boolean;
  /** Pixels of zero padding (after normalisation) from which the crop is taken; 0 for none. */
  readonly crop: number;
}
