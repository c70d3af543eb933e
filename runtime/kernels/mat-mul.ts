import { broadcast_util, type TensorInfo } from "@tensorflow/tfjs-core";
import { RELU, TRANSPOSE_A, TRANSPOSE_B } from "../wasm/kernels.js";
import { checkTensor, type Call } from "./registration.js";

export interface MatMulAttributes {
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/**
 * For each matrix of the output its place among an operand's matrices; dimensions of length 1 are
 * repeated.
 */
function placesIn(dimensions: readonly number[], outDimensions: readonly number[]): number[] {
  const skipped = outDimensions.length - dimensions.length;
  return outDimensions.reduce<number[]>(
    (places, length, axis) => {
      const own = axis < skipped ? 1 : dimensions[axis - skipped];
      return places.flatMap((place) =>
        Array.from({ length }, (_, i) => place * own + (own === 1 ? 0 : i)),
      );
    },
    [0],
  );
}

/**
 * relu?(op(a) op(b) + bias?) for each pair of matrices in the last two dimensions, the others
 * broadcast.
 */
export function matMul(
  kernelName: string,
  {
    inputs: { a, b },
    attrs: { transposeA, transposeB },
    ...call
  }: Call<{ a: TensorInfo; b: TensorInfo }, MatMulAttributes>,
  bias?: TensorInfo,
  relu = false,
): TensorInfo {
  checkTensor(`${kernelName}.a`, a, Math.max(2, a.shape.length));
  checkTensor(`${kernelName}.b`, b, Math.max(2, b.shape.length));
  const [aRows, aColumns] = a.shape.slice(-2);
  const [bRows, bColumns] = b.shape.slice(-2);
  const m = transposeA ? aColumns : aRows;
  const n = transposeB ? bRows : bColumns;
  const k = transposeA ? aRows : aColumns;
  if ((transposeB ? bColumns : bRows) !== k)
    throw new RangeError(
      `"${kernelName}.b" expected ${k} ${transposeB ? "columns" : "rows"} for "a" of [${a.shape.join(", ")}], got [${b.shape.join(", ")}]`,
    );
  const outDimensions = broadcast_util.assertAndGetBroadcastShape(
    a.shape.slice(0, -2),
    b.shape.slice(0, -2),
  );
  const aPlaces = placesIn(a.shape.slice(0, -2), outDimensions);
  const bPlaces = placesIn(b.shape.slice(0, -2), outDimensions);
  const how = (transposeA ? TRANSPOSE_A : 0) + (transposeB ? TRANSPOSE_B : 0) + (relu ? RELU : 0);
  const c = call.output([...outDimensions, m, n]);
  const [aAddress, bAddress, cAddress] = [a, b, c].map(call.addressOf);
  aPlaces.forEach((aPlace, i) =>
    call.kernels.gemm(
      how,
      m,
      n,
      k,
      aAddress + 4 * aPlace * aRows * aColumns,
      aColumns,
      bAddress + 4 * bPlaces[i] * bRows * bColumns,
      bColumns,
      cAddress + 4 * i * m * n,
      n,
      call.addressOf(bias),
      call.scratch,
    ),
  );
  return c;
}
