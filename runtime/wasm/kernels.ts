/**
 * What the AssemblyScript module exports, as TypeScript sees it; both builds (SIMD and relaxed
 * SIMD) export the same. Addresses are byte offsets in the memory the module was instantiated on.
 * Tensors are float32, row-major, images NHWC, filters HWIO [kernelHeight, kernelWidth, inChannels,
 * outChannels]. Flags are 0 or 1. A null address is 0. `window` is the address of a window
 * (window.ts), `scratch` that of `SCRATCH_BYTES` of 16-byte aligned memory that a call may
 * overwrite.
 */
export interface Kernels {
  // gemm.ts
  /**
   * C = op(A) op(B) [+ C] [+ bias], then ReLU if asked. op(A) is m x k, op(B) is k x n; lda, ldb,
   * ldc are row strides of the stored matrices in elements. bias has n elements. `how` is a sum of
   * `TRANSPOSE_A`, `TRANSPOSE_B`, `ACCUMULATE` (+ C), `RELU`, `NORM`, and what `holdRight` gave.
   * Returns the sum of squares of what was stored with `NORM`, else 0.
   */
  gemm(
    how: number,
    m: number,
    n: number,
    k: number,
    a: number,
    lda: number,
    b: number,
    ldb: number,
    c: number,
    ldc: number,
    bias: number,
    scratch: number,
  ): number;
  /**
   * Packs op(B) whole in scratch, for products with it that follow each other while nothing else is
   * written there. Returns what to add to their `how`: 0 where it is too large.
   */
  holdRight(how: number, n: number, k: number, b: number, ldb: number, scratch: number): number;

  // conv2d.ts: one-dimensional convolution is the case height = kernelHeight = 1.
  // kernelHeight * kernelWidth * inChannels is at most MAX_PATCH.
  /** y = relu?(conv(x, w) + bias?). Returns the sum of squares of y if `norm`, else 0. */
  conv2d(
    window: number,
    batch: number,
    x: number,
    w: number,
    bias: number,
    y: number,
    relu: number,
    norm: number,
    scratch: number,
  ): number;
  /** dx = the gradient of conv2d with respect to its input. */
  conv2dBackpropInput(
    window: number,
    batch: number,
    dy: number,
    w: number,
    dx: number,
    scratch: number,
  ): void;
  /** dw = the gradient of conv2d with respect to its filter. */
  conv2dBackpropFilter(
    window: number,
    batch: number,
    x: number,
    dy: number,
    dw: number,
    scratch: number,
  ): void;

  // depthwise.ts: filter [kernelHeight, kernelWidth, inChannels, multiplier], outChannels =
  // inChannels * multiplier.
  depthwiseConv2d(
    window: number,
    batch: number,
    x: number,
    w: number,
    bias: number,
    y: number,
    relu: number,
    norm: number,
  ): number;
  depthwiseConv2dBackpropInput(
    window: number,
    batch: number,
    dy: number,
    w: number,
    dx: number,
  ): void;
  depthwiseConv2dBackpropFilter(
    window: number,
    batch: number,
    x: number,
    dy: number,
    dw: number,
  ): void;

  // pool.ts
  /**
   * argmax (int32, may be null) keeps, per output element, the index into x of the first largest
   * element of its window.
   */
  maxPool(window: number, batch: number, x: number, y: number, argmax: number): void;
  /** dx = 0, then dx[argmax[i]] += dy[i] for `outSize` elements. */
  maxPoolBackprop(dy: number, argmax: number, dx: number, inSize: number, outSize: number): void;
  /**
   * The gradient through max-pool and the ReLU before it, in the place of the ReLU's output a [..,
   * channels] of inSize elements: a = (scattered dy + coefficient a) (a > 0), and dbias[c] = the
   * sum of its rows, the bias' gradient at no extra cost. pooled is max-pool's output of
   * outSize elements, as are dy, which is overwritten, and argmax.
   */
  maxPoolReluBackprop(
    a: number,
    pooled: number,
    dy: number,
    argmax: number,
    dbias: number,
    inSize: number,
    outSize: number,
    channels: number,
    coefficient: number,
  ): void;
  /** y[i] = x[argmax[i]]: the directional derivative of max-pool. */
  gatherByIndex(x: number, index: number, y: number, size: number): void;
  /** Mean over the part of each window that lies inside the image. */
  avgPool(window: number, batch: number, x: number, y: number): void;
  avgPoolBackprop(window: number, batch: number, dy: number, dx: number): void;

  // group-norm.ts: x is [batch, positions, channels]; statistics per example and group of
  // channels/groups channels.
  /**
   * y = relu?(gamma (x - mean) inverseDeviation + beta). mean and inverseDeviation: [batch,
   * groups]. Returns sum of squares of y if `norm`.
   */
  groupNorm(
    x: number,
    gamma: number,
    beta: number,
    y: number,
    mean: number,
    inverseDeviation: number,
    batch: number,
    positions: number,
    channels: number,
    groups: number,
    epsilon: number,
    relu: number,
    norm: number,
  ): number;
  /**
   * dx, dgamma and dbeta from dy at the output of the normalisation (a ReLU's mask is already in
   * dy).
   */
  groupNormBackprop(
    x: number,
    gamma: number,
    mean: number,
    inverseDeviation: number,
    dy: number,
    dx: number,
    dgamma: number,
    dbeta: number,
    batch: number,
    positions: number,
    channels: number,
    groups: number,
  ): void;

  // batch-norm.ts: x, y, dy, dx are [rows, columns], all other tensors [columns].
  /** y = relu?(scale (x - center) + shift). x and y may be the same. */
  scaleColumns(
    x: number,
    center: number,
    scale: number,
    shift: number,
    y: number,
    rows: number,
    columns: number,
    relu: number,
  ): void;
  /** dx = scale dy + tilt (x - center) + shift. dy and dx may be the same. */
  scaleColumnsBackprop(
    dy: number,
    scale: number,
    x: number,
    center: number,
    tilt: number,
    shift: number,
    dx: number,
    rows: number,
    columns: number,
  ): void;
  /** out[c] = sum over rows of (x - center) y; where y is null, of (x - center)^2. */
  sumColumnProducts(
    x: number,
    center: number,
    y: number,
    out: number,
    rows: number,
    columns: number,
  ): void;

  // activation-norm.ts
  /** y = max(x, 0). Returns the sum of squares of y if `norm`, else 0. x and y may be the same. */
  relu(x: number, y: number, size: number, norm: number): number;
  /**
   * dz = (dy + coefficient a) (a > 0), MAN's gradient with ReLU's mask in one pass. dy and dz may
   * be the same.
   */
  reluBackprop(a: number, dy: number, dz: number, size: number, coefficient: number): void;
  /**
   * reluBackprop over [rows, columns] that also sums the rows: dbias[c] = sum over rows of dz[row,
   * c], the bias' gradient at no extra cost.
   */
  reluBackpropSumRows(
    a: number,
    dy: number,
    dz: number,
    dbias: number,
    rows: number,
    columns: number,
    coefficient: number,
  ): void;
  /** sum of x_i^2, in float64 accuracy. */
  squaredNorm(x: number, size: number): number;

  // activation.ts: kinds are the numbers of models/layers/activations.ts
  /** y = f(x). x and y may be the same. */
  activate(kind: number, x: number, y: number, size: number): void;
  /** dz = f'(z) (dy + coefficient y); z may be null where f' follows from y. dy may be dz. */
  activationBackprop(
    kind: number,
    z: number,
    y: number,
    dy: number,
    dz: number,
    size: number,
    coefficient: number,
  ): void;

  // rows.ts
  /** y[i] = table[tokens[i]]; tokens are whole numbers in float32. */
  lookUp(
    tokens: number,
    table: number,
    y: number,
    count: number,
    units: number,
    vocabulary: number,
  ): void;
  /** dtable = 0, then dtable[tokens[i]] += dy[i]. */
  lookUpBackprop(
    tokens: number,
    dy: number,
    dtable: number,
    count: number,
    units: number,
    vocabulary: number,
  ): void;
  /** to[row, 0..columns) = from[row, 0..columns), strides in elements. */
  copyColumns(
    from: number,
    fromStride: number,
    to: number,
    toStride: number,
    rows: number,
    columns: number,
  ): void;

  // recurrent.ts: one step of a recurrent layer; see there.
  lstmStep(
    gates: number,
    before: number,
    c: number,
    h: number,
    hSteps: number,
    next: number,
    batch: number,
    steps: number,
    units: number,
    f: number,
    g: number,
  ): void;
  lstmStepBackprop(
    gates: number,
    before: number,
    c: number,
    dy: number,
    dySteps: number,
    dh: number,
    dc: number,
    d: number,
    batch: number,
    steps: number,
    units: number,
    f: number,
    g: number,
    coefficient: number,
  ): void;
  gruGates(
    gates: number,
    bias: number,
    before: number,
    hidden: number,
    batch: number,
    steps: number,
    units: number,
    g: number,
  ): void;
  gruStep(
    gates: number,
    before: number,
    h: number,
    hSteps: number,
    next: number,
    batch: number,
    steps: number,
    units: number,
    f: number,
  ): void;
  gruStepBackprop(
    gates: number,
    before: number,
    hidden: number,
    dy: number,
    dySteps: number,
    dh: number,
    d: number,
    dhidden: number,
    batch: number,
    steps: number,
    units: number,
    f: number,
    g: number,
    after: number,
    coefficient: number,
  ): void;
  gruGatesBackprop(
    r: number,
    before: number,
    dhidden: number,
    dh: number,
    dr: number,
    batch: number,
    steps: number,
    units: number,
    g: number,
  ): void;

  // loss.ts
  /**
   * labels: int32 [rows]; a row with the label -1 is left out. weights: [classes], 1 where null.
   * dlogits (may be null, may be logits) = scale w (softmax(logits) - onehot). probabilities (may be
   * null): [rows, classes]. Returns the sum of the weighted cross-entropies, natural logarithm; NaN
   * if another label is outside [0, classes).
   */
  softmaxCrossEntropy(
    logits: number,
    labels: number,
    weights: number,
    dlogits: number,
    probabilities: number,
    rows: number,
    classes: number,
    scale: number,
  ): number;
  /** z <- softmax(scale z), row by row; with `causal` up to the row's own place in its square. */
  softmaxRows(z: number, rows: number, columns: number, scale: number, causal: number): void;
  /** ds = scale p (dp - sum over the row of dp p); ds may be dp. */
  softmaxRowsBackprop(
    p: number,
    dp: number,
    ds: number,
    rows: number,
    columns: number,
    scale: number,
  ): void;
  /**
   * z, y, dz (may be null): [rows, columns]; weights of positive targets: [columns], 1 where null.
   * dz = scale times the derivative. Returns the sum of w y softplus(-z) + (1 - y) softplus(z).
   */
  sigmoidCrossEntropy(
    z: number,
    y: number,
    weights: number,
    dz: number,
    rows: number,
    columns: number,
    scale: number,
  ): number;
  /**
   * `kind` 0: d^2, 1: |d|, 2: Huber's with delta, of d = y - t, element by element. dy (may be null)
   * = scale times the derivative. Returns the sum.
   */
  regressionLoss(
    kind: number,
    y: number,
    t: number,
    dy: number,
    size: number,
    delta: number,
    scale: number,
  ): number;
  /** How many rows have their largest logit (the first, if several) at the label. */
  countCorrect(logits: number, labels: number, batch: number, classes: number): number;

  // vector.ts
  /** y += coefficient x */
  axpy(y: number, x: number, size: number, coefficient: number): void;
  /** y = x1 x2, element by element */
  multiply(y: number, x1: number, x2: number, size: number): void;
  /** out[c] = sum over rows of x[rows, columns]: a bias' gradient. */
  sumRows(x: number, out: number, rows: number, columns: number): void;
  /**
   * out[s] = sum of the rows of x whose segment is s; rows with a segment outside [0, segments) are
   * left out. segments: int32 [rows].
   */
  unsortedSegmentSum(
    x: number,
    segmentIds: number,
    out: number,
    rows: number,
    columns: number,
    segments: number,
  ): void;

  // optimizer.ts
  /**
   * sum of (g + p (theta - center) + v)^2; center and linear (v) may be null: what the clip is
   * computed from.
   */
  stepSquaredNorm(
    g: number,
    theta: number,
    center: number,
    linear: number,
    size: number,
    proximal: number,
  ): number;
  /**
   * theta -= eta (s (g + p (theta - center) + v) + wd theta); s is the clip's factor. center and
   * linear may be null.
   */
  step(
    theta: number,
    g: number,
    center: number,
    linear: number,
    size: number,
    proximal: number,
    clipScale: number,
    learningRate: number,
    weightDecay: number,
  ): void;
  /** out = theta + factor g (SAM's ascent) */
  samAscent(out: number, theta: number, g: number, size: number, factor: number): void;
  /** sum of (T g)^2 with T = |theta| + eta, or T = 1 if eta is negative (biases): ASAM's norm. */
  asamSquaredNorm(theta: number, g: number, size: number, eta: number): number;
  /** out = theta + factor T^2 g, with T as in asamSquaredNorm. */
  asamAscent(
    out: number,
    theta: number,
    g: number,
    size: number,
    factor: number,
    eta: number,
  ): void;

  // fold.ts: reproducible sums (architecture.md, idea 5)
  /**
   * sum[i] += (weight x[i] + C) - C in float64, C = 1.5 * 2^52 * grid. The caller looks with
   * `checkRange` first, for a fold cannot be undone. sum: float64 [size].
   */
  foldFloat32(sum: number, x: number, size: number, weight: number, c: number): void;
  /** The same with x as float16. */
  foldFloat16(sum: number, x: number, size: number, weight: number, c: number): void;
  /** The same with x as int8; the codec's scale belongs into the weight. */
  foldInt8(sum: number, x: number, size: number, weight: number, c: number): void;
  /** How many elements of float32 x are not finite or larger than maxAbs in size. */
  checkRange(x: number, size: number, maxAbs: number): number;
  /** How many elements of float16 x are not finite or larger than maxAbs in size. */
  checkRangeFloat16(x: number, size: number, maxAbs: number): number;
}

/** What `gemm` does beside the product. */
export const TRANSPOSE_A = 1;
export const TRANSPOSE_B = 2;
export const ACCUMULATE = 4;
export const RELU = 8;
export const NORM = 16;

/** Bytes of scratch memory that gemm and the convolutions may use. */
export const SCRATCH_BYTES = 4 * 1024 * 1024;

/**
 * Largest kernelHeight * kernelWidth * inChannels of a convolution: one patch and 8 columns of its
 * filter must fit into scratch.
 */
export const MAX_PATCH = 49152;

/**
 * Where kernels work: a memory, and a way to get and give back parts of it. Addresses are 16-byte
 * aligned.
 */
export interface Heap {
  readonly memory: WebAssembly.Memory;
  allocate(bytes: number): number;
  free(address: number): void;
}

/** The two builds of the module. */
export type KernelBuild = "simd" | "relaxed";
