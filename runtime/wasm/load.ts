import { ConfigError } from "../errors.js";
import { engineBuild } from "./engine-build.js";
import type { KernelBuild, Kernels } from "./kernels.js";

/**
 * The two builds as platform code found them: the bytes of kernels.simd.wasm and
 * kernels.relaxed.wasm.
 */
export type KernelBinaries = Readonly<Record<KernelBuild, BufferSource>>;

/** One build, compiled once; a `WebAssembly.Module` can be posted to workers. */
interface CompiledKernels {
  readonly build: KernelBuild;
  readonly module: WebAssembly.Module;
}

/**
 * Compiles the best build, or the one named.
 * @throws ConfigError `no-simd` if this engine does not know the build's instructions.
 */
export async function compileKernels(
  binaries: KernelBinaries,
  build: KernelBuild = engineBuild(),
): Promise<CompiledKernels> {
  const bytes = binaries[build];
  if (!WebAssembly.validate(bytes))
    throw new ConfigError(
      "no-simd",
      `"kernel build" expected an engine with WebAssembly ${build === "simd" ? "SIMD" : "relaxed SIMD"}, got one without`,
    );
  return { build, module: await WebAssembly.compile(bytes) };
}

/**
 * Instantiates the module on a memory; its functions work on addresses in that memory, wherever it
 * grows. At once, because a kernel that tfjs calls cannot wait; browsers allow that for modules
 * under 8 MB.
 */
export function instantiateKernels(
  { module }: CompiledKernels,
  memory: WebAssembly.Memory,
): Kernels {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  // The compiler of the module checks nothing against this type: test/kernels/binary.test.ts
  // compares the names.
  return instance.exports as unknown as Kernels;
}

/**
 * Another module of functions on addresses in a memory, with its exports as the caller knows them:
 * the compiler of the module checks nothing against that type.
 */
export async function loadModule<Exports>(
  bytes: BufferSource,
  memory: WebAssembly.Memory,
): Promise<Exports> {
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  return instance.exports as Exports;
}
