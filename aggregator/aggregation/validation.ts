import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { Arithmetic } from "./arithmetic.js";

/** Why something is refused: a code of docs/protocol.md and a sentence. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** One condition of admission: says what is wrong, or nothing. */
export interface Check<Subject> {
  /** The refusal's code. */
  readonly code: string | ((subject: Subject) => string);
  wrong(subject: Subject): string | undefined;
}

/** The first check that has something to say. */
export function refusalOf<Subject>(
  checks: readonly Check<Subject>[],
  subject: Subject,
): Refusal | undefined {
  for (const { code, wrong } of checks) {
    const message = wrong(subject);
    if (message !== undefined)
      return { code: typeof code === "string" ? code : code(subject), message };
  }
  return undefined;
}

/**
 * An offer, and what is known of the assignment it names. All of it is checked before a byte of the
 * update is asked for.
 */
export interface Offered {
  /** The assignment is this client's, of this run. */
  readonly known: boolean;
  /**
   * What became of it, where it is over: `late`, `stale`, `abandoned` or the code it was refused
   * with.
   */
  readonly ended: string | undefined;
  readonly sha256: string;
  /** The hash that this assignment was offered with before. */
  readonly before: string | undefined;
  readonly bytes: number;
  readonly expectedBytes: number;
}

/** What became of an assignment, in words. */
export const ENDINGS: Readonly<Record<string, string>> = {
  late: "the round closed without it",
  abandoned: "the attempt was called off",
  stale: "more rounds were committed since its model than may be",
};

export const OFFER_CHECKS: readonly Check<Offered>[] = [
  {
    code: "unknown-assignment",
    wrong: ({ known }) => (known ? undefined : "this client has no such assignment in this run"),
  },
  {
    code: "conflict",
    wrong: ({ sha256, before }) =>
      before !== undefined && before !== sha256
        ? `"sha256" expected ${before} as offered before, got ${sha256}`
        : undefined,
  },
  {
    code: ({ ended }) => ended!,
    wrong: ({ ended }) => ended && (ENDINGS[ended] ?? "this assignment was refused before"),
  },
  {
    code: "bytes",
    wrong: ({ bytes, expectedBytes }) =>
      bytes === expectedBytes ? undefined : `"bytes" expected ${expectedBytes}, got ${bytes}`,
  },
];

/** A whole update, and what it must be. */
export interface Received {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  /** The exact first bytes; the numbers follow, float32 to the end. */
  readonly header: Uint8Array;
  readonly maxAbs: number;
  /** Largest Euclidean norm of each vector; Infinity for none. */
  readonly maxNorm: number;
  /** The step of which every number has to be a multiple, where clients keep what they send. */
  readonly grid: number | undefined;
  /** Names of the vectors, which lie end to end. */
  readonly vectors: readonly string[];
  readonly arithmetic: Arithmetic;
}

/**
 * The vectors of an update whose header is right: views where the memory is aligned, else copies.
 */
export function vectorsOf({
  bytes,
  header,
  vectors,
}: Pick<Received, "bytes" | "header" | "vectors">): Record<string, Float32Array> {
  const at = bytes.byteOffset + header.length;
  const body =
    at % 4 === 0
      ? new Float32Array(bytes.buffer, at, (bytes.length - header.length) / 4)
      : new Float32Array(bytes.slice(header.length).buffer);
  const size = body.length / vectors.length;
  return Object.fromEntries(
    vectors.map((name, i) => [name, body.subarray(i * size, (i + 1) * size)]),
  );
}

/** The largest float32 is smaller. */
const FINITE = 3.5e38;

/** The first vector with numbers beyond `most`, and how many. NaN is beyond everything. */
function outOfRange(subject: Received, most: number): { name: string; count: number } | undefined {
  for (const [name, values] of Object.entries(vectorsOf(subject))) {
    const count = subject.arithmetic.outOfRange(values, most);
    if (count > 0) return { name, count };
  }
  return undefined;
}

/** How many numbers are no multiples of the grid, a power of two. */
function offGrid(values: Float32Array, grid: number): number {
  // Added to this, a number loses all bits below the grid.
  const shift = 1.5 * 2 ** 52 * grid;
  let count = 0;
  for (const x of values) if (x + shift - shift !== x) count++;
  return count;
}

export const UPDATE_CHECKS: readonly Check<Received>[] = [
  {
    code: "hash",
    wrong({ bytes, sha256 }) {
      const got = sha256Hex(bytes);
      return got === sha256 ? undefined : `"update" expected SHA-256 ${sha256}, got ${got}`;
    },
  },
  {
    code: "layout",
    wrong: ({ bytes, header }) =>
      Buffer.compare(bytes.subarray(0, header.length), header) === 0
        ? undefined
        : `"header" expected the names and shapes of the model, got others`,
  },
  {
    // In one pass where nothing is wrong.
    code: (subject) => (outOfRange(subject, FINITE) ? "not-finite" : "range"),
    wrong(subject) {
      const beyond = outOfRange(subject, subject.maxAbs);
      if (beyond === undefined) return undefined;
      const infinite = outOfRange(subject, FINITE);
      return infinite
        ? `"${infinite.name}" has ${infinite.count} numbers that are not finite`
        : `"${beyond.name}" has ${beyond.count} numbers beyond ${subject.maxAbs}: a smaller learning rate or a clip may help`;
    },
  },
  {
    code: "grid",
    wrong({ grid, ...subject }) {
      if (grid === undefined) return undefined;
      for (const [name, values] of Object.entries(vectorsOf(subject))) {
        const count = offGrid(values, grid);
        if (count > 0)
          return `"${name}" has ${count} numbers that are no multiples of ${grid}, the round's grid`;
      }
      return undefined;
    },
  },
  {
    code: "norm",
    wrong(subject) {
      if (subject.maxNorm === Infinity) return undefined;
      for (const [name, values] of Object.entries(vectorsOf(subject))) {
        const norm = Math.sqrt(subject.arithmetic.squaredNorm(values));
        if (norm > subject.maxNorm)
          return `"${name}" expected a norm of at most ${subject.maxNorm}, got ${norm}`;
      }
      return undefined;
    },
  },
];
