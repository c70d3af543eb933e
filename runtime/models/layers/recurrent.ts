import * as v from "valibot";
import { elements } from "../../tensors/shape.js";
import {
  ACTIVATIONS,
  activationNamed,
  type Activation,
  type ActivationName,
} from "./activations.js";
import { TRANSPOSE_B } from "../../wasm/kernels.js";
import { positiveInteger, sequenceOf, trueOrFalse } from "./fields.js";
import {
  floats,
  regions,
  wordsOf,
  type Cells,
  type Complain,
  type Layer,
  type LayerParameter,
  type Run,
  type Shape,
  type Words,
} from "./layer.js";
import { matrixWithin } from "./linear.js";

// What the recurrent layers (gru.ts, lstm.ts) share: the products of all steps with the input, before
// and behind the loop over time, and that loop. What a step does is each layer's own.

/** Those whose derivative follows from their value: z is not kept step by step. */
const NAMES = (Object.keys(ACTIVATIONS) as ActivationName[]).filter(
  (name) => !ACTIVATIONS[name].keeps,
);
const activationOfStep = v.optional(v.picklist(NAMES, `one of ${NAMES.join(", ")}`));

export const recurrentFields = {
  units: positiveInteger,
  returnSequences: trueOrFalse,
  reverse: trueOrFalse,
  activation: activationOfStep,
  recurrentActivation: activationOfStep,
};

interface Description {
  readonly units: number;
  readonly returnSequences?: boolean;
  readonly reverse?: boolean;
  readonly activation?: ActivationName;
  readonly recurrentActivation?: ActivationName;
}

/** A layer's sizes, and its two activations. */
export interface Form {
  readonly length: number;
  readonly channels: number;
  readonly units: number;
  /** Output h of every step, or of the last. */
  readonly sequences: boolean;
  readonly state: Activation;
  readonly gate: Activation;
}

/** A step of the loop over time: where its rows lie among the steps, and its neighbours'. */
export interface TimeStep {
  /** Place in the sequence: the order of the loop unless `reverse`. */
  readonly at: number;
  /** Place of the step before it, and of the one behind it; absent at the ends. */
  readonly before?: number;
  readonly next?: number;
}

/** The steps of a sequence in the order in which they are computed. */
function stepsOf(length: number, reverse: boolean): readonly TimeStep[] {
  const places = Array.from({ length }, (_, i) => (reverse ? length - 1 - i : i));
  return places.map((at, i) => ({ at, before: places[i - 1], next: places[i + 1] }));
}

/** Kept of each step: the gates, and h of the step before; and the gradient of h on its way back. */
type Common = "gates" | "previous" | "dh";
/** Tangents of the same, and the gradient of the gates with its own tangent. */
type CommonTangents = "gates" | "previous" | "dhTangent" | "d" | "dTangent";

/** One pass over a batch: where everything lies. */
export interface Pass<Name extends string, Tangent extends string> {
  readonly run: Run;
  readonly cells: Cells;
  readonly kept: Readonly<Record<Common | Name, number>>;
  /** What the tangent passes keep; meaningless in a plan without such. */
  readonly along: Readonly<Record<CommonTangents | Tangent, number>>;
  /** The gradient of the gates before their activation; takes their place where nothing else needs them. */
  readonly d: number;
  /** What to add to a step's product with the recurrent kernel, where it is held packed. */
  readonly held: number;
}

/** What is one layer's own. */
export interface Recurrence<Name extends string, Tangent extends string> {
  /** Gates: blocks of `units` columns of both kernels. */
  readonly blocks: number;
  /** Behind `kernel` and `recurrentKernel`; the first is the bias of x W. */
  readonly biases: readonly LayerParameter[];
  readonly words: Words<Name>;
  readonly tangentWords: Words<Tangent>;
  /** A step's only product is that with the whole recurrent kernel: it is packed once for all steps. */
  readonly holds?: boolean;
  /** From gates = x W + b and `previous`: gates, h into `cells.y`, and `previous` of the next step. */
  forward(pass: Pass<Name, Tangent>, step: TimeStep): void;
  /** From dh, and dy of this step: d of this step, and dh of the step before. */
  backward(pass: Pass<Name, Tangent>, step: TimeStep, penalty: number): void;
  forwardTangent(pass: Pass<Name, Tangent>, step: TimeStep): void;
  /** Also dh, once more: the backward pass has been through all steps. */
  backwardTangent(pass: Pass<Name, Tangent>, step: TimeStep, penalty: number): void;
  /** Behind the loop: the gradients of the recurrent kernel, and of biases but the first. */
  gradients(pass: Pass<Name, Tangent>): void;
  products(pass: Pass<Name, Tangent>): void;
}

/** Where a row of `columns` words of a step begins, in a tensor [batch, length, columns]. */
export const row = (address: number, at: number, columns: number): number =>
  address + 4 * at * columns;

/**
 * Where h of a step goes, or dy comes from: 0 where that step's is not given out; and how many steps
 * an example has there.
 */
export const outside = (
  { length, units, sequences }: Form,
  address: number,
  { at, next }: TimeStep,
): readonly [address: number, steps: number] =>
  sequences ? [row(address, at, units), length] : [next === undefined ? address : 0, 1];

/**
 * Calls back for each unit of each example at one step, with its indices: among gates [batch,
 * length, width], states [batch, length, units], and what is carried, [batch, units].
 */
export function eachUnit(
  { length, units }: Form,
  { batch }: Run,
  at: number,
  width: number,
  visit: (gate: number, state: number, carried: number) => void,
): void {
  for (let b = 0; b < batch; b++)
    for (let j = 0; j < units; j++)
      visit((b * length + at) * width + j, (b * length + at) * units + j, b * units + j);
}

/** Where an example's output, or its gradient, is that belongs to a state: -1 for none. */
export const outer = (
  { sequences }: Form,
  { next }: TimeStep,
  state: number,
  carried: number,
): number => (sequences ? state : next === undefined ? carried : -1);

/** The layer of a description: [length, channels] becomes [length, units], or [units] of the last step. */
export function recurrentLayer<Name extends string, Tangent extends string>(
  input: Shape,
  description: Description,
  complain: Complain,
  recurrence: (form: Form) => Recurrence<Name, Tangent>,
): Layer {
  const [length, channels] = sequenceOf(input, complain);
  const { units, returnSequences = false, reverse = false } = description;
  const { activation = "tanh", recurrentActivation = "sigmoid" } = description;
  const own = recurrence({
    length,
    channels,
    units,
    sequences: returnSequences,
    state: activationNamed(activation),
    gate: activationNamed(recurrentActivation),
  });
  // Made when first gone through, since a description may claim any length.
  let made: readonly TimeStep[] | undefined;
  const steps = () => (made ??= stepsOf(length, reverse));
  const width = own.blocks * units;
  const output = returnSequences ? [length, units] : [units];
  const common: Words<Common> = { gates: width * length, previous: units * length, dh: units };
  const words = { ...common, ...own.words };
  const commonTangents: Words<CommonTangents> = {
    gates: width * length,
    previous: units * length,
    dhTangent: units,
    d: width * length,
    dTangent: width * length,
  };
  const tangentWords = { ...commonTangents, ...own.tangentWords };
  const project = matrixWithin(length, channels, width, [0, 2]);
  const tangents = ({ batch }: Run, { tangentMemory }: Cells) =>
    regions(tangentMemory, batch, tangentWords);
  const open = (run: Run, cells: Cells): Pass<Name, Tangent> => {
    const kept = regions(cells.memory, run.batch, words);
    // Tangent passes need the gates beside their gradient.
    const d = cells.tangentMemory > 0 ? tangents(run, cells).d : kept.gates;
    return { run, cells, kept, along: tangents(run, cells), d, held: 0 };
  };
  /** The pass with its recurrent kernel packed, until other products need the scratch memory. */
  const holding = (pass: Pass<Name, Tangent>, how: number): Pass<Name, Tangent> => {
    if (own.holds !== true) return pass;
    const { kernels, scratch } = pass.run;
    const [n, k] = how === TRANSPOSE_B ? [units, width] : [width, units];
    return {
      ...pass,
      held: kernels.holdRight(how, n, k, pass.cells.parameters[1], width, scratch),
    };
  };
  const initial = { fanIn: units };
  return {
    input,
    output,
    parameters: [
      { name: "kernel", shape: [channels, width], initial },
      { name: "recurrentKernel", shape: [units, width], initial },
      ...own.biases,
    ],
    remembers: wordsOf(words),
    remembersTangents: wordsOf(tangentWords),
    stateElements: length * units,

    forward(run, cells, _relu, norm) {
      const { kernels, batch } = run;
      const pass = open(run, cells);
      const { gates, previous } = pass.kept;
      project.forward(run, { ...cells, y: gates });
      const first = floats(run, previous, batch * length * units);
      for (let b = 0; b < batch; b++) {
        const at = (b * length + steps()[0].at) * units;
        first.fill(0, at, at + units);
      }
      const held = holding(pass, 0);
      for (const step of steps()) own.forward(held, step);
      if (!norm) return 0;
      const rest = returnSequences ? 0 : kernels.squaredNorm(previous, batch * length * units);
      return rest + kernels.squaredNorm(cells.y, batch * elements(output));
    },

    backward(run, cells, penalty) {
      const pass = open(run, cells);
      floats(run, pass.kept.dh, run.batch * units).fill(0);
      const held = holding(pass, TRANSPOSE_B);
      for (const step of steps().toReversed()) own.backward(held, step, penalty);
      project.backward(run, { ...cells, dy: pass.d });
      if (cells.gradients[1] !== 0) own.gradients(pass);
    },

    forwardTangent(run, cells) {
      const pass = open(run, cells);
      project.forwardTangent(run, { ...cells, yTangent: pass.along.gates });
      floats(run, pass.along.previous, run.batch * length * units).fill(0);
      for (const step of steps()) own.forwardTangent(pass, step);
    },

    backwardTangent(run, cells, penalty) {
      const pass = open(run, cells);
      const { d, dTangent, dhTangent } = pass.along;
      for (const carried of [pass.kept.dh, dhTangent])
        floats(run, carried, run.batch * units).fill(0);
      for (const step of steps().toReversed()) own.backwardTangent(pass, step, penalty);
      project.backwardTangent(run, { ...cells, dy: d, dyTangent: dTangent });
      own.products(pass);
    },
  };
}
