/**
 * An elementwise nonlinearity y = f(z). Its number is that of the kernels
 * (assembly/lanes/activations.ts).
 */
export interface Activation {
  readonly kind: number;
  /** MAN penalises it: it is neither bounded to 0..1 nor a gate. */
  readonly tapped: boolean;
  /** f' follows from z, not from y: z is kept for the backward pass. */
  readonly keeps: boolean;
  /** f(z), f'(z) and f''(z), for the exact Hessian products only; f'' at a kink is 0. */
  value(z: number): number;
  first(z: number, y: number): number;
  /** Absent where it is 0 everywhere. */
  second?(z: number, y: number): number;
}

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));
const density = (z: number) => Math.exp(-z * z * 0.5) / Math.sqrt(2 * Math.PI);

/** Phi(z) by Abramowitz and Stegun 7.1.26, as the kernels compute it. */
function normal(z: number): number {
  const x = Math.abs(z) / Math.SQRT2;
  const t = 1 / (1 + 0.3275911 * x);
  const series =
    ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  const tail = 0.5 * series * Math.exp(-x * x);
  return z < 0 ? tail : 1 - tail;
}

const between = (low: number, high: number, slope: number) => (_z: number, y: number) =>
  y > low && y < high ? slope : 0;

/** Every activation, by the name that stands in a description. */
export const ACTIVATIONS = {
  relu: {
    kind: 1,
    value: (z) => Math.max(z, 0),
    tapped: true,
    keeps: false,
    first: between(0, Infinity, 1),
  },
  relu6: {
    kind: 2,
    value: (z) => Math.min(Math.max(z, 0), 6),
    tapped: true,
    keeps: false,
    first: between(0, 6, 1),
  },
  leakyRelu: {
    kind: 3,
    value: (z) => Math.max(z, 0.01 * z),
    tapped: true,
    keeps: false,
    first: (_z, y) => (y > 0 ? 1 : 0.01),
  },
  tanh: {
    kind: 4,
    value: Math.tanh,
    tapped: true,
    keeps: false,
    first: (_z, y) => 1 - y * y,
    second: (_z, y) => -2 * y * (1 - y * y),
  },
  sigmoid: {
    kind: 5,
    value: sigmoid,
    tapped: false,
    keeps: false,
    first: (_z, y) => y * (1 - y),
    second: (_z, y) => y * (1 - y) * (1 - 2 * y),
  },
  elu: {
    kind: 6,
    value: (z) => (z > 0 ? z : Math.expm1(z)),
    tapped: true,
    keeps: false,
    first: (_z, y) => (y > 0 ? 1 : y + 1),
    second: (_z, y) => (y > 0 ? 0 : y + 1),
  },
  hardSigmoid: {
    kind: 7,
    value: (z) => Math.min(Math.max(z / 6 + 0.5, 0), 1),
    tapped: false,
    keeps: false,
    first: between(0, 1, 1 / 6),
  },
  hardSigmoid5: {
    kind: 8,
    value: (z) => Math.min(Math.max(z / 5 + 0.5, 0), 1),
    tapped: false,
    keeps: false,
    first: between(0, 1, 1 / 5),
  },
  hardSwish: {
    kind: 9,
    value: (z) => z * Math.min(Math.max(z / 6 + 0.5, 0), 1),
    tapped: true,
    keeps: true,
    first: (z) => (z >= 3 ? 1 : z <= -3 ? 0 : (2 * z + 3) / 6),
    second: (z) => (Math.abs(z) < 3 ? 1 / 3 : 0),
  },
  silu: {
    kind: 10,
    value: (z) => z * sigmoid(z),
    tapped: true,
    keeps: true,
    first(z) {
      const s = sigmoid(z);
      return s + z * s * (1 - s);
    },
    second(z) {
      const s = sigmoid(z);
      return s * (1 - s) * (2 + z * (1 - 2 * s));
    },
  },
  gelu: {
    kind: 11,
    value: (z) => z * normal(z),
    tapped: true,
    keeps: true,
    first: (z) => normal(z) + z * density(z),
    second: (z) => density(z) * (2 - z * z),
  },
} as const satisfies Record<string, Activation>;

export type ActivationName = keyof typeof ACTIVATIONS;

/** The activation of that name, under the type that all share. */
export const activationNamed = (name: ActivationName): Activation => ACTIVATIONS[name];
