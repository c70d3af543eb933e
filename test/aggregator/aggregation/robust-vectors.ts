import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { readSafetensors } from "../../../runtime/tensors/safetensors.js";

/** Another folder of the same form goes too. */
const folder =
  process.env["FEDFLAT_VECTORS_NEXT"] ??
  fileURLToPath(new URL("../../../../test/vectors/next/", import.meta.url));

interface Case {
  readonly krumScores: readonly number[];
  readonly krumPick: number;
  readonly multiKrumPicks: readonly number[];
  readonly bulyanPicks: readonly number[];
  readonly normFilterKept: readonly number[];
  readonly attackers: readonly number[];
}

export const reference = JSON.parse(readFileSync(`${folder}/robust.json`, "utf8")) as {
  readonly n: number;
  readonly f: number;
  readonly d: number;
  readonly tau: number;
  readonly normFactor: number;
  readonly multiKrumKeeps: number;
  readonly cases: Readonly<Record<string, Case>>;
  readonly ties: {
    readonly updates: readonly (readonly number[])[];
    readonly f: number;
    readonly scores: readonly number[];
    readonly krumPick: number;
  };
  readonly alieZ: Readonly<Record<string, number>>;
};

const { tensors } = readSafetensors(readFileSync(`${folder}/robust.safetensors`));

export function vector(name: string): Float64Array {
  const data = tensors.get(name)?.data;
  if (data === undefined) throw new Error(`no "${name}" in the vectors`);
  return Float64Array.from(data as Float64Array);
}

/** The updates of a case, in the order of the clients' ids. */
export const updatesOf = (name: string): Float32Array[] => {
  const all = Float32Array.from(vector(`${name}/updates`));
  const { n, d } = reference;
  return Array.from({ length: n }, (_, i) => all.slice(i * d, (i + 1) * d));
};
