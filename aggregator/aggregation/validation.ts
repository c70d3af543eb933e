import { ModelError } from "../../runtime/errors.js";
import { sha256Hex } from "../../runtime/platform/node-sha256.js";
import type { Arithmetic } from "./arithmetic.js";
import { beyond, normOf, type ArrivedVector } from "./numbers.js";

/** Why something is refused: a code of docs/protocol.md and a sentence. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
}

/** One condition of admission: says what is wrong, or nothing. */
interface Check<Subject> {
  /** The refusal's code. */
  readonly code: string | ((subject: Subject) => string);
  wrong(subject: Subject): string | undefined;
}

/** What the first failed check says. */
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

const ENDINGS: Readonly<Record<string, string>> = {
  late: "the round closed without it",
  abandoned: "the attempt was called off, because too few of the others came",
  stale: "more rounds were committed since its model than may be",
};

/** What became of an assignment, in words. */
export const endingInWords = (code: string): string =>
  ENDINGS[code] ?? "this assignment was refused before";

/** Whether what became of an assignment was no fault of its client's. */
export const isFaultless = (code: string): boolean => code in ENDINGS;

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
    wrong: ({ ended }) => ended && endingInWords(ended),
  },
  {
    code: "bytes",
    wrong: ({ bytes, expectedBytes }) =>
      bytes === expectedBytes ? undefined : `"bytes" expected ${expectedBytes}, got ${bytes}`,
  },
];

/** A whole update, and what it must be. */
interface Received extends VectorLimits {
  readonly bytes: Uint8Array;
  readonly sha256: string;
  /** Throws ModelError `layout` where the bytes are no such update. */
  readonly decode: () => Readonly<Record<string, ArrivedVector>>;
}

interface VectorLimits {
  readonly maxAbs: number;
  /** Largest Euclidean norm of each vector; Infinity for none. */
  readonly maxNorm: number;
  /** The step of which every number has to be a multiple, where clients keep what they send. */
  readonly grid: number | undefined;
  readonly arithmetic: Arithmetic;
}

/** The vectors of an update whose bytes and numbers are as they must be, or why it is refused. */
export function readUpdate({
  bytes,
  sha256,
  decode,
  ...limits
}: Received):
  | { readonly vectors: Readonly<Record<string, ArrivedVector>>; readonly refusal?: undefined }
  | { readonly refusal: Refusal } {
  const got = sha256Hex(bytes);
  if (got !== sha256)
    return {
      refusal: { code: "hash", message: `"update" expected SHA-256 ${sha256}, got ${got}` },
    };
  let vectors: Readonly<Record<string, ArrivedVector>>;
  try {
    vectors = decode();
  } catch (error) {
    if (!(error instanceof ModelError)) throw error;
    return { refusal: { code: error.code, message: error.message } };
  }
  const refusal = refusalOf(VECTOR_CHECKS, { vectors, ...limits });
  return refusal === undefined ? { vectors } : { refusal };
}

interface Decoded extends VectorLimits {
  readonly vectors: Readonly<Record<string, ArrivedVector>>;
}

/** The largest float32 is smaller. */
const FINITE = 3.5e38;

/** The first vector with numbers beyond `most`, and how many. NaN is beyond everything. */
function outOfRange(
  { vectors, arithmetic }: Decoded,
  most: number,
): { name: string; count: number } | undefined {
  for (const [name, values] of Object.entries(vectors)) {
    const count = beyond(values, most, arithmetic);
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

const VECTOR_CHECKS: readonly Check<Decoded>[] = [
  {
    // In one pass where nothing is wrong.
    code: (subject) => (outOfRange(subject, FINITE) ? "not-finite" : "range"),
    wrong(subject) {
      const large = outOfRange(subject, subject.maxAbs);
      if (large === undefined) return undefined;
      const infinite = outOfRange(subject, FINITE);
      return infinite
        ? `"${infinite.name}" has ${infinite.count} numbers that are not finite`
        : `"${large.name}" has ${large.count} numbers beyond ${subject.maxAbs}: a smaller learning rate or a clip may help`;
    },
  },
  {
    code: "grid",
    wrong({ grid, vectors }) {
      if (grid === undefined) return undefined;
      for (const [name, values] of Object.entries(vectors)) {
        // Of blocks the scales are on it.
        const count = values instanceof Float32Array ? offGrid(values, grid) : 0;
        if (count > 0)
          return `"${name}" has ${count} numbers that are no multiples of ${grid}, the round's grid`;
      }
      return undefined;
    },
  },
  {
    code: "norm",
    wrong({ maxNorm, vectors, arithmetic }) {
      if (maxNorm === Infinity) return undefined;
      for (const [name, values] of Object.entries(vectors)) {
        const norm = normOf(values, arithmetic);
        if (norm > maxNorm) return `"${name}" expected a norm of at most ${maxNorm}, got ${norm}`;
      }
      return undefined;
    },
  },
];
