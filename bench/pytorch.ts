import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Contender } from "./comparison.js";

/** The Python that has PyTorch: Debian's, for others on the path may lack it. */
export const PYTHON = "/usr/bin/python3";
const program = fileURLToPath(new URL("../../bench/pytorch.py", import.meta.url));

/** Whether there is a PyTorch to compare with, and which. */
export function pytorchVersion(): string | undefined {
  try {
    return execFileSync(PYTHON, ["-c", "import torch; print(torch.__version__)"], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}

export interface Peer extends Contender {
  /** Loss of each checked step, and the weights after them. */
  readonly losses: readonly number[];
  readonly after: Float32Array;
  close(): void;
}

/** Vectors of 256 bits at most: what a machine without AVX-512 has. */
const AVX2 = {
  ATEN_CPU_CAPABILITY: "avx2",
  DNNL_MAX_CPU_ISA: "AVX2",
  OPENBLAS_CORETYPE: "Haswell",
};

/**
 * PyTorch in a process of its own, one thread, on the same weights and batch; `narrow` keeps it
 * from AVX-512.
 */
export async function pytorch(
  job: Readonly<Record<string, unknown>>,
  x: Float32Array,
  y: Int32Array | Float32Array,
  weights: Float32Array,
  narrow = false,
): Promise<Peer> {
  const folder = mkdtempSync(join(tmpdir(), "fedflat-bench-"));
  writeFileSync(join(folder, "job.json"), JSON.stringify(job));
  writeFileSync(join(folder, "x.bin"), x);
  writeFileSync(join(folder, "y.bin"), y);
  writeFileSync(join(folder, "weights.bin"), weights);
  // A kernel that the machine's environment asks for may not be the fastest: PyTorch shall choose
  // its own.
  const { OPENBLAS_CORETYPE: _, OPENBLAS_L2_SIZE: __, ...own } = process.env;
  const child = spawn(PYTHON, [program, folder], {
    stdio: ["pipe", "pipe", "inherit"],
    env: {
      ...own,
      OMP_NUM_THREADS: "1",
      OPENBLAS_NUM_THREADS: "1",
      ...(narrow ? AVX2 : {}),
    },
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error("PyTorch ended before it answered");
    return value;
  };
  const { losses } = JSON.parse(await next());
  const after = new Float32Array(new Uint8Array(readFileSync(join(folder, "after.bin"))).buffer);
  return {
    name: narrow ? "PyTorch without AVX-512" : "PyTorch",
    losses,
    after,
    async burst(times) {
      child.stdin.write(`${times}\n`);
      return Number(await next());
    },
    close() {
      child.kill();
      rmSync(folder, { recursive: true });
    },
  };
}
