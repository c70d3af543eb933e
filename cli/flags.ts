import { CODECS } from "../runtime/codecs/built-in.js";
import { runSettings, type AggregatorSettings } from "../aggregator/settings.js";
import { RULES } from "../aggregator/aggregation/rules/built-in.js";
import { LOSS_KINDS } from "../runtime/models/losses/built-in.js";
import { PRESET_NAMES } from "../runtime/models/presets.js";
import {
  algorithm,
  attack,
  columns,
  integer,
  kindOf,
  labIdentity,
  metadataOf,
  number,
  numbers,
  oneOf,
  part,
  shape,
  socketUrl,
  split,
  text,
  texts,
  toggle,
  updates,
  type Kind,
} from "./kinds.js";

// Every setting of the command line, in one table: the flags, the keys of a config file, the checks
// and the help are all made from it. A key `localEpochs` is the flag `--local-epochs` and the
// config file's `"local-epochs"`.

/** What the help says of a command beside its flags. */
interface CommandText {
  readonly summary: string;
  readonly examples: readonly string[];
}

/**
 * Every command, in the order of the help. The work of one is the function of its name in the file
 * of its name, which is loaded only when it is asked for: a client need not load the aggregator.
 */
export const COMMANDS = {
  serve: {
    summary: "The aggregator of a run, on a port",
    examples: [
      "--model fashion-small --rounds 20 --gather 10 --test examples/data/fashion-mnist",
      "--model sensor --algorithm fedsam+fedadam --set rho=0.05 --run runs/watches",
      "--host 0.0.0.0 --token-file token.txt --public-name fl.example.org:7400",
      "--run runs/watches --model sensor --resume",
    ],
  },
  join: {
    summary: "One client, with its own data",
    examples: [
      "--url ws://127.0.0.1:7400 --data my-data.csv",
      "--url wss://fl.example.org --token-file token.txt --data readings.npz --state /var/lib/fedflat --patience 0",
      "--data examples/data/fashion-mnist --split dirichlet:0.3 --part 3/10 --lab-identity 1:3",
    ],
  },
  simulate: {
    summary: "A whole federation in this process and its workers",
    examples: [
      "--data examples/data/fashion-mnist --split dirichlet:0.3 --clients 10 --rounds 15",
      "--data uci-har.npz --model sensor --split groups --rounds 20",
      "--data cifar-100-binary --model cifar --split dirichlet:0.3 --clients 100 --fraction 0.1 --bernoulli --augment",
    ],
  },
  experiment: {
    summary:
      "A grid of simulated federations from one file: tables and pictures; resumes where it was stopped",
    examples: [
      "examples/experiments/scaled.json",
      "examples/experiments/paper-cifar-100.json --data cifar-100-binary --parallel 16 --out results/cifar-100",
      "examples/experiments/paper-cifar-100.json --shard 3/8 --out /shared/cifar-100",
    ],
  },
  flatness: {
    summary:
      "Largest eigenvalues and trace of the Hessian at a run's model, and the loss around it",
    examples: [
      "--model runs/demo/man/model --data examples/data/fashion-mnist --top 5",
      "--model runs/demo/man/model --data examples/data/fashion-mnist --samples 1000 --per-layer --slice",
    ],
  },
  predict: {
    summary: "Class names and probabilities of every example, and the accuracy",
    examples: [
      "--model runs/demo/man/model --data examples/data/fashion-mnist > predictions.csv",
      "--model runs/demo/man/model --data examples/data/fashion-mnist --json",
    ],
  },
  demo: {
    summary:
      "Ten client processes train on the data that come with the package, without and with MAN",
    examples: ["", "--clients 3 --rounds 2", "--zeta 0.6 --local-epochs 2"],
  },
  import: {
    summary:
      "A model of Keras, TensorFlow.js, ONNX, TFLite or PyTorch becomes one that a run begins with",
    examples: [
      'mobilenet.h5 --freeze "all but last 2" --head 5 --to models/flowers',
      "detector.onnx --loss sigmoidCrossEntropy --to detector.safetensors",
      "state_dict.safetensors --description network.json --to models/mine",
    ],
  },
  export: {
    summary: "A run's model becomes a file of another program",
    examples: [
      "runs/watches/model --to onnx --out watches.onnx",
      "runs/watches --to tfjs --out public/watches",
      "runs/watches --to keras --out watches.keras",
    ],
  },
  loadtest: {
    summary:
      "Thousands of light clients against an aggregator: how long everything takes, and what goes wrong",
    examples: [
      "ws://127.0.0.1:7400 --clients 1000 --rounds 3",
      "wss://fl.example.org --token-file token.txt --clients 2000 --profiles phone:80,gateway:15,flaky-rural:5 --ramp 60 --duration 600 --report load.html",
      "ws://127.0.0.1:7400 --clients 50 --update train --data examples/data/fashion-mnist",
    ],
  },
  privacy: {
    summary: "The epsilon of a noise multiplier over so many rounds, or the noise for an epsilon",
    examples: [
      "--noise 1.1 --sampling 0.01 --rounds 1000",
      "--epsilon 8 --delta 1e-5 --rounds 100 --plot epsilon-8",
    ],
  },
  status: {
    summary: "What an aggregator waits for, in a sentence, and its clients",
    examples: ["127.0.0.1:7400", "fl.example.org --token-file admin.txt --json"],
  },
  enroll: {
    summary: "A one-time token with which one client enrols its key",
    examples: ["--keys /etc/fedflat/keys --label ward-3 --valid 2 > token.txt"],
  },
  keys: {
    summary: "The keys of enrolled clients",
    examples: [
      "list --keys /etc/fedflat/keys",
      "revoke --client ID --keys /etc/fedflat/keys",
      "revoke --token ID",
    ],
  },
} as const satisfies Readonly<Record<string, CommandText>>;

export type CommandName = keyof typeof COMMANDS;

export const NAMES = Object.keys(COMMANDS) as readonly CommandName[];

interface Setting<T> extends Kind<T> {
  readonly help: string;
  readonly commands: readonly CommandName[];
  readonly default?: T;
  /** Defaults of single commands, where they differ. */
  readonly defaultIn?: Partial<Record<CommandName, T>>;
  readonly required?: boolean;
  /** The flag, where it is not the key. */
  readonly flag?: string;
  /** Stands without a flag, first on the line. */
  readonly positional?: boolean;
}

type Group = Record<string, Setting<unknown>>;

const LOSS_NAMES = Object.keys(LOSS_KINDS) as (keyof typeof LOSS_KINDS)[];

const ROUNDS = ["serve", "simulate"] as const;
const LOCAL = ["simulate", "demo"] as const;
const DEALT = ["join", "simulate", "demo"] as const;

/** Flags of one command. */
function only<C extends CommandName, G extends Readonly<Record<string, Own>>>(
  command: C,
  group: G,
): { readonly [K in keyof G]: G[K] & { readonly commands: readonly [C] } } {
  const rows = Object.entries<Own>(group).map(([key, flag]): [string, Setting<unknown>] => [
    key,
    { ...flag, commands: [command] },
  ]);
  return Object.fromEntries(rows) as {
    readonly [K in keyof G]: G[K] & { readonly commands: readonly [C] };
  };
}

type Own = Omit<Setting<unknown>, "commands">;

/** The flag of one of the run's settings: type, bounds and default are those of its schema. */
type OfRun<K extends keyof AggregatorSettings, C> = Kind<NonNullable<AggregatorSettings[K]>> & {
  readonly help: string;
  readonly commands: C;
} & (undefined extends AggregatorSettings[K]
    ? unknown
    : { readonly default: NonNullable<AggregatorSettings[K]> });

/** Flags of the run's settings that these help texts name. */
function ofRun<const C extends readonly CommandName[], K extends keyof AggregatorSettings>(
  commands: C,
  help: Readonly<Record<K, string>>,
): { readonly [P in K]: OfRun<P, C> } {
  const flag = (key: K): Setting<unknown> => {
    const { wrapped, default: initial } = runSettings[key];
    return { ...kindOf(wrapped), default: initial, help: help[key], commands };
  };
  const keys = Object.keys(help) as K[];
  return Object.fromEntries(keys.map((key) => [key, flag(key)])) as {
    readonly [P in K]: OfRun<P, C>;
  };
}

/** Settings of one scope, which have their help in the schema. */
type In<S> = {
  readonly [K in keyof AggregatorSettings]-?: (typeof runSettings)[K]["wrapped"] extends {
    readonly pipe: readonly [unknown, { readonly metadata: { readonly scope: S } }];
  }
    ? K
    : never;
}[keyof AggregatorSettings];

/** Their help texts. */
const helpIn = <S extends "run" | "service">(scope: S) =>
  Object.fromEntries(
    Object.entries(runSettings).flatMap(([key, { wrapped }]) => {
      const { help, scope: own } = metadataOf(wrapped);
      return own === scope ? [[key, help]] : [];
    }),
  ) as Record<In<S>, string>;

const { learningRateDecay, ...IN_RUNS } = ofRun(ROUNDS, helpIn("run"));
const IN_SERVICES = ofRun(["serve"], helpIn("service"));

/**
 * A flag without a default, so that a command sees whether it was given; the help says what holds.
 */
const unset = <F extends { readonly help: string; readonly default: unknown }>(
  { default: initial, ...flag }: F,
  more = "",
): Omit<F, "default"> => ({ ...flag, help: `${flag.help} (${String(initial)}${more})` });

const LINE = {
  port: {
    ...integer(0, 65535),
    placeholder: "number",
    default: 7400,
    help: "port to listen on (0 for any free one)",
    commands: ["serve"],
  },
  host: {
    ...text("address"),
    default: "127.0.0.1",
    help: "address to listen on",
    commands: ["serve"],
  },
  url: {
    ...socketUrl,
    default: "ws://127.0.0.1:7400",
    help: "the aggregator's address",
    commands: ["join"],
  },
  patience: {
    ...number(0, 1e9),
    default: 60,
    help: "seconds without the aggregator after which to give up; 0 for never",
    commands: ["join"],
  },
  secureOnly: {
    ...integer(4, 128),
    help: "train only in secure rounds of at least so many clients, whose aggregator sees no single update",
    commands: ["join"],
  },
  publicName: {
    ...texts("host:port"),
    default: [],
    help: "name under which clients dial, beside the loopback's own; with its port unless that is 80 for ws or 443 for wss",
    commands: ["serve"],
  },
  trustedProxy: {
    ...texts("address"),
    default: [],
    help: "address (127.0.0.1) or network (10.0.0.0/8) of a proxy whose X-Forwarded-For tells a client's address",
    commands: ["serve"],
  },
  allowOrigin: {
    ...texts("origin"),
    default: [],
    help: "web page that may connect, such as https://app.example.org",
    commands: ["serve"],
  },
  openToAll: {
    ...toggle,
    default: false,
    help: "listen beyond this machine, or under a public name, although any client is admitted",
    commands: ["serve"],
  },
  publicModels: {
    ...toggle,
    default: false,
    help: "let anybody who knows a model's hash fetch it",
    commands: ["serve"],
  },
  tokenFile: {
    ...text("file"),
    help: "file with the token that clients must show; in status that token or the admin's",
    commands: ["serve", "join", "loadtest", "status"],
  },
  adminTokenFile: {
    ...text("file"),
    help: "file with the token by which the live page's admin pauses, resumes and stops the run; at least 16 characters",
    commands: ["serve"],
  },
  keys: {
    ...text("folder"),
    defaultIn: { enroll: "keys", keys: "keys" },
    help: "folder of the enrolled clients' keys; a server with it admits nobody else",
    commands: ["serve", "enroll", "keys"],
  },
  label: {
    ...text("text", /^/),
    default: "",
    help: "what the token is for: stands beside the client's key",
    commands: ["enroll"],
  },
  valid: {
    ...number(0, 1e6),
    default: 24,
    help: "hours in which the token can be used, once",
    commands: ["enroll"],
  },
  action: {
    ...oneOf("list", "revoke"),
    positional: true,
    required: true,
    help: "list keys and unused tokens, or revoke one",
    commands: ["keys"],
  },
  client: {
    ...text("id", /^[0-9a-f]{64}$/, "a client's id, 64 hexadecimal digits"),
    help: "the client whose key is revoked",
    commands: ["keys"],
  },
  unusedToken: {
    ...text("id", /^[0-9a-f]{16}$/, "a token's id as keys list shows it, 16 hexadecimal digits"),
    flag: "token",
    help: "the unused token that is revoked, by its id in keys list",
    commands: ["keys"],
  },
  aggregator: {
    ...text(
      "url",
      /^((ws|http)s?:\/\/)?([^/:[\]]+|\[[0-9a-f:.]+\])(:\d+)?(\/.*)?$/i,
      "an address such as 127.0.0.1:7400 or https://fl.example.org",
    ),
    positional: true,
    required: true,
    help: "an aggregator, or its health port; without a scheme http on this machine, https elsewhere",
    commands: ["status"],
  },
  tlsCert: {
    ...text("file"),
    help: "certificate to show, PEM; with it a server speaks wss",
    commands: ["serve", "join", "status"],
  },
  tlsKey: {
    ...text("file"),
    help: "the certificate's key, PEM",
    commands: ["serve", "join", "status"],
  },
  tlsCa: {
    ...text("file"),
    help: "authority that the other end's certificate must be of, PEM; in serve it makes certificates of clients compulsory",
    commands: ["serve", "join", "loadtest", "status"],
  },
  tlsCrl: {
    ...text("file"),
    help: "certificates that this authority has revoked (a certificate revocation list), PEM",
    commands: ["serve"],
  },
  healthPort: {
    ...integer(0, 65535),
    help: "a second port, on loopback, that tells health and status only",
    commands: ["serve"],
  },
  grace: {
    ...number(0, 1e6),
    default: 30,
    help: "seconds that the round in progress gets to end after SIGTERM",
    commands: ["serve"],
  },
} satisfies Group;

const EXPERIMENT = only("experiment", {
  file: {
    ...text("file"),
    positional: true,
    required: true,
    help: "the experiment, JSON or YAML (see examples/experiments/)",
  },
  out: {
    ...text("folder"),
    help: "folder of all its runs and results; what is finished there is not run again (runs/ and the file's name where not given)",
  },
  parallel: {
    ...integer(1, 256),
    help: "runs at once (one for each core where not given)",
  },
  shard: {
    ...part,
    help: "only every n-th run, from the k-th: each machine takes another k, with the same --out on a disk that they share",
  },
  collect: {
    ...toggle,
    help: "run nothing: write tables and pages from what is finished, after all shards",
  },
  page: {
    ...text("file"),
    help: "write the results page to this Markdown file too, its pictures into a folder of the same name",
  },
  into: {
    ...text("file"),
    help: "write the table of rules, codecs or methods into this Markdown file too, between <!-- table NAME --> and <!-- end -->; NAME is the experiment's file without its ending",
  },
  dataOfRuns: {
    ...text("path"),
    flag: "data",
    help: "data set of the runs, instead of the file's",
  },
});

const DATA = {
  data: {
    ...text("path"),
    required: true,
    help: "data set: a folder or a file in one of the layouts of docs/data.md",
    commands: ["join", "simulate", "flatness", "predict"],
  },
  test: {
    ...text("path"),
    help: "test data on which every new model is evaluated",
    commands: ROUNDS,
  },
  split: {
    ...split,
    help: "how the data are dealt to clients: iid, dirichlet:0.3, shards:2 or groups (one client for each group of the data)",
    defaultIn: { simulate: "iid", demo: "dirichlet:0.3" },
    commands: DEALT,
  },
  part: {
    ...part,
    help: "take only the k-th of n parts of the data",
    commands: ["join"],
  },
  clients: {
    ...integer(1, 100_000),
    defaultIn: { demo: 10 },
    help: "number of clients (10; with --split groups one for each group)",
    commands: LOCAL,
  },
  shape: {
    ...shape,
    help: "shape of an example in a CSV file, such as 28x28x1",
    commands: ["serve", "join", "simulate"],
  },
  labelColumn: {
    ...text("column"),
    flag: "label",
    help: "column of the label in a CSV file, by name or place from 0 (label, class, target or y where not given)",
    commands: ["serve", "join", "simulate", "flatness", "predict", "loadtest"],
  },
  target: {
    ...columns,
    help: "columns of numbers in a CSV file that the model learns instead of a label, by name or place, with commas between; of windows next (the row behind, or next: and columns of it), input or label (of the last row)",
    commands: ["serve", "join", "simulate", "flatness", "predict", "loadtest"],
  },
  window: {
    ...integer(1, 1_000_000),
    help: "cut long series (CSV, NPY) into windows of so many rows, or texts into so many characters",
    commands: ["serve", "join", "simulate", "flatness", "predict", "loadtest"],
  },
  stride: {
    ...integer(1, 1_000_000),
    help: "rows from the beginning of a window to that of the next (the window's length where not given)",
    commands: ["serve", "join", "simulate", "flatness", "predict", "loadtest"],
  },
  groupColumn: {
    ...text("column"),
    flag: "group",
    help: "column of the group in a CSV file (group, subject or client where not given)",
    commands: ["serve", "join", "simulate", "flatness", "predict", "loadtest"],
  },
  holdOut: {
    ...number(0, 0.99),
    help: "share of a client's examples that it never trains on and evaluates with (0.1; in simulate 0 where there are test data and nothing is personal)",
    commands: ["join", "simulate"],
  },
  samples: {
    ...integer(1),
    help: "take so many training examples, drawn by the seed (all of them where not given)",
    commands: ["simulate", "flatness"],
  },
  lab: {
    ...toggle,
    default: false,
    help: "look at what only a simulation can see: what models are judged by of the mean of each round's participants (sel) and of all clients (all), and each client's own accuracy (means.jsonl, clients.json)",
    commands: ["simulate"],
  },
  augment: {
    ...toggle,
    default: false,
    help: "flip and crop training images at random",
    commands: ROUNDS,
  },
} satisfies Group;

const TRAINING = {
  model: {
    ...text("model"),
    help: `${PRESET_NAMES.join(", ")}, a file with a description, or a model whose weights the run begins with (the one for the data's shape where not given); perceptron and autoencoder take tables`,
    commands: ROUNDS,
  },
  freeze: {
    ...text("layers"),
    help: 'layers that stay as they are, which clients fetch once: "all but last 2", "first 3", or a type such as batchNorm',
    commands: ["serve", "simulate", "import"],
  },
  ...ofRun(ROUNDS, {
    headEpochs:
      "FedRep: passes that train the personal layers alone, before those of --local-epochs, which then train the others alone",
  }),
  personalise: {
    ...integer(0, 10_000),
    placeholder: "epochs",
    help: "after the run, fine-tune its last model in so many passes over a client's own examples, and tell what that is worth on those held out",
    commands: ["join", "simulate"],
  },
  personaliseRate: {
    ...number(0, 1e6),
    help: "learning rate of --personalise (0.01)",
    commands: ["join", "simulate"],
  },
  personal: {
    ...text("layers"),
    help: 'layers that each client trains for itself and never sends: "last 1", or a type such as batchNorm',
    commands: ["serve", "simulate", "import"],
  },
  modelFolder: {
    ...text("folder"),
    flag: "model",
    required: true,
    help: "a run's folder, its model folder, or a weights.safetensors",
    commands: ["flatness", "predict"],
  },
  algorithm: {
    ...ofRun(ROUNDS, {
      algorithm:
        "federated algorithm; client+server pairs such as fedsam+fedadam go too, and a file of your own such as ./mine.js (docs/adding-an-algorithm.md)",
    }).algorithm,
    ...algorithm,
  },
  algorithmFiles: {
    ...texts("file"),
    flag: "algorithm",
    default: [],
    help: "an algorithm of your own that a run may use, such as ./mine.js (docs/adding-an-algorithm.md)",
    commands: ["join"],
  },
  set: {
    ...numbers(),
    default: {},
    help: "one of the algorithm's own numbers, such as mu=0.1",
    commands: ROUNDS,
  },
  ...ofRun([...ROUNDS, "demo"], {
    zeta: "coefficient of MAN, the activation-norm penalty; 0 switches it off",
  }),
  localEpochs: {
    ...ofRun([...ROUNDS, "demo"], { localEpochs: "passes over a client's data in a round" })
      .localEpochs,
    defaultIn: { demo: 2 },
  },
  ...ofRun(ROUNDS, {
    batchSize: "examples in a batch",
    learningRate: "learning rate of the first round",
  }),
  learningRateDecay,
  ...ofRun(ROUNDS, {
    weightDecay: "weight decay",
    clipNorm: "norm to which gradients are clipped; 0 for no clip",
    batchNorm:
      "running mean and variance of batchNorm: frozen, used as they are; average, measured and averaged; local, measured and kept by each client (frozen where the model brings them, else average)",
  }),
} satisfies Group;

const ROUND = {
  ...IN_RUNS,
  rounds: { ...IN_RUNS.rounds, commands: [...ROUNDS, "demo"], defaultIn: { demo: 10 } },
  buffer: unset(IN_RUNS.buffer),
  concurrency: unset(IN_RUNS.concurrency),
  maxStaleness: unset(IN_RUNS.maxStaleness),
  fraction: unset(IN_RUNS.fraction, " where neither this nor --clients-per-round is given"),
  evaluateFraction: unset(
    IN_RUNS.evaluateFraction,
    "; 0 where there are test data and no layer is personal",
  ),
  ...IN_SERVICES,
  codec: {
    ...IN_RUNS.codec,
    ...oneOf(...Object.keys(CODECS)),
    placeholder: "codec",
  },
  codecSet: {
    ...numbers(),
    default: {},
    help: "one of the codec's own numbers, such as block=256 or fraction=0.01",
    commands: ROUNDS,
  },
  aggregate: {
    ...IN_RUNS.aggregate,
    ...oneOf(...RULES.map(({ name }) => name)),
    placeholder: "rule",
  },
  aggregateSettings: {
    ...numbers(),
    flag: "aggregate-set",
    default: {},
    help: "one of the rule's own numbers, such as radius=1 (docs/robust.md)",
    commands: ROUNDS,
  },
  aggregateBytes: { ...IN_RUNS.aggregateBytes, flag: "aggregate-memory" },
  budgetBytes: { ...IN_SERVICES.budgetBytes, flag: "upload-memory" },
  flatnessEvery: {
    ...integer(0, 1_000_000),
    default: 0,
    help: "every so many rounds also compute the Hessian's largest eigenvalue on up to 500 of the test data (0 for never)",
    commands: ROUNDS,
  },
  seed: {
    ...integer(0),
    default: Number(runSettings.seed.default),
    help: "seed of every random choice",
    commands: [...DEALT, "serve", "flatness", "loadtest"],
  },
  attack: {
    ...attack,
    default: "none",
    help: "what hostile clients do: none, sign-flip, alie, inner-product, huge or label-flip, some with a strength such as inner-product:10 (docs/robust.md)",
    commands: ["simulate"],
  },
  attackers: {
    ...integer(0, 100_000),
    default: 0,
    help: "number of hostile clients, the first ones; a rule is told of them where --hostile is not given",
    commands: ["simulate"],
  },
  workers: {
    ...integer(1, 256),
    help: "workers that train (one for each core where not given)",
    commands: ["simulate"],
  },
} satisfies Group;

const FLATNESS = only("flatness", {
  top: {
    ...integer(1, 50),
    default: 1,
    help: "how many of the Hessian's largest eigenvalues",
  },
  probes: {
    ...integer(2, 1_000_000),
    default: 30,
    help: "random vectors for the trace, where the model is too large for the exact one",
  },
  perLayer: {
    ...toggle,
    default: false,
    help: "the same for the block of each layer's parameters",
  },
  slice: {
    ...toggle,
    default: false,
    help: "the loss on a plane along two filter-normalised random directions: CSV, SVG and PNG",
  },
  sliceRadius: {
    ...number(0.001, 100),
    default: 1,
    help: "half the side of that plane; 1 changes each filter by as much as its own norm",
  },
  slicePoints: {
    ...integer(3, 501),
    default: 21,
    help: "points along each side of that plane",
  },
  sliceColours: {
    ...text("lowest:highest"),
    help: "losses at the ends of the picture's colour scale, so that two pictures can be compared (the slice's own where not given)",
  },
  outcome: {
    ...text("folder"),
    flag: "out",
    help: "folder for flatness.json and the slice (the model's where not given)",
  },
});

const IMPORT = only("import", {
  source: {
    ...text("file"),
    positional: true,
    required: true,
    help: "a model's file: .h5, .keras, model.json, .onnx, .tflite or .safetensors, told apart by content (docs/interchange.md)",
  },
  destination: {
    ...text("path"),
    flag: "to",
    help: "folder of the model, or a .safetensors file (a folder of the file's name where not given)",
  },
  head: {
    ...integer(1, 1_000_000),
    help: "put a new dense layer of so many classes in place of the last one",
  },
  keepBatchNorm: {
    ...toggle,
    default: false,
    help: "keep batch normalisations as batchNorm layers, instead of folding them into their neighbours",
  },
  lora: {
    ...integer(1, 65_536),
    help: "keep the kernels of dense layers as they are, but the last one's, and train two of this rank beside each (docs/models.md)",
  },
  loss: {
    ...oneOf(...LOSS_NAMES),
    placeholder: "name",
    help: `what is minimised: ${LOSS_NAMES.join(", ")} (what the file says or implies where not given)`,
  },
  network: {
    ...text("file"),
    flag: "description",
    help: "JSON description of the network, for a PyTorch state_dict in safetensors",
  },
});

const EXPORT = only("export", {
  trained: {
    ...text("folder"),
    positional: true,
    required: true,
    help: "a run's folder, its model folder, or a weights.safetensors",
  },
  to: {
    ...oneOf("onnx", "keras", "tfjs", "torch"),
    placeholder: "format",
    required: true,
    help: "onnx, keras, tfjs for a layers-model of TensorFlow.js, torch for a state_dict of PyTorch (docs/interchange.md)",
  },
  exported: {
    ...text("file"),
    flag: "out",
    help: "the file, or the folder of tfjs and torch (model.onnx, model.keras, model-tfjs or model-torch where not given)",
  },
});

const CLIENT = only("join", {
  state: {
    ...text("folder"),
    default: "fedflat-state",
    help: "folder of the client's key, its unfinished work and the algorithm's state",
  },
  labIdentity: {
    ...labIdentity,
    help: "in a laboratory: derive the client's key from a seed, as simulate does for its client of that index",
  },
  limits: {
    ...numbers(["modelBytes", "memoryBytes", "seconds"]),
    default: {},
    help: "decline work beyond this: modelBytes=, memoryBytes=, seconds=",
  },
});

const LOAD = only("loadtest", {
  address: {
    ...socketUrl,
    positional: true,
    required: true,
    help: "the aggregator's address",
  },
  lightClients: {
    ...integer(1, 1_000_000),
    flag: "clients",
    default: 100,
    help: "number of clients",
  },
  update: {
    ...updates,
    default: "random",
    help: "where updates come from: random numbers of the right shape, replay of recorded ones (--updates), or real training by a shared pool (--data)",
  },
  recorded: {
    ...text("folder"),
    flag: "updates",
    help: "folder of recorded updates, for --update replay",
  },
  trainOn: {
    ...text("path"),
    flag: "data",
    help: "data set that is dealt to the clients, for --update train",
  },
  record: {
    ...text("folder"),
    help: "keep the updates of --update train in this folder, for --update replay",
  },
  profiles: {
    ...text("fleet"),
    default: "instant",
    help: "kinds of devices with shares, of instant, phone, gateway and flaky-rural, and of attackers (sign-flip, alie, inner-product, huge, label-flip), such as phone:80,sign-flip:20; or a JSON file (docs/loadtest.md)",
  },
  onlySecure: {
    ...toggle,
    flag: "secure",
    help: "train in secure rounds alone (they mask their updates in a secure run without it, too)",
  },
  ramp: {
    ...number(0, 1_000_000),
    default: 1,
    help: "seconds over which the clients arrive",
  },
  duration: {
    ...number(0.1, 1_000_000),
    default: 60,
    help: "seconds after which to stop, if the run is not finished before",
  },
  untilRounds: {
    ...integer(1, 1_000_000),
    flag: "rounds",
    help: "stop when so many rounds have been committed",
  },
  processes: {
    ...integer(1, 64),
    flag: "workers",
    default: 1,
    help: "threads that drive the clients",
  },
  report: {
    ...text("file"),
    help: "write the report with plots to this HTML file",
  },
});

const PRIVACY = only("privacy", {
  noise: {
    ...number(0.01, 1e6),
    help: "noise multiplier: the noise's deviation over the norm to which updates are clipped",
  },
  epsilon: {
    ...number(0.001, 1000),
    help: "epsilon to be kept, instead of --noise: answers the least noise multiplier",
  },
  delta: {
    ...number(1e-10, 0.5),
    default: 1e-5,
    help: "delta of the answer: well below one over the number of clients",
  },
  sampling: {
    ...number(1e-9, 1),
    default: 1,
    help: "chance with which each client is in a round; below 1 only where the aggregator alone sees each one's own coin",
  },
  releases: {
    ...integer(1, 10_000_000),
    flag: "rounds",
    required: true,
    help: "rounds, each of which publishes a model",
  },
  plot: {
    ...text("path"),
    default: "epsilon",
    help: "picture of epsilon against rounds: written as path.svg and path.png",
  },
});

const OUTCOME = {
  run: {
    ...text("folder"),
    help: "the run's folder (runs/ and the time where not given)",
    commands: [...ROUNDS, "demo"],
  },
  log: {
    ...text("file"),
    help: "the log, JSON lines (log.jsonl in the run's folder; - for standard error)",
    commands: ["serve"],
  },
  logSize: {
    ...number(1, 1_000_000),
    default: 200,
    help: "megabytes that the log's file and the one before it may take; at half of it a new one begins",
    commands: ["serve"],
  },
  hold: {
    ...toggle,
    default: false,
    help: "open no round before an admin starts it on the live page",
    commands: ["serve"],
  },
  tensorboard: {
    ...text("folder"),
    help: "write the figures of each round as TensorBoard events into this folder",
    commands: ROUNDS,
  },
  resume: {
    ...toggle,
    default: false,
    help: "resume the run in that folder",
    commands: ROUNDS,
  },
  resumeOrStart: {
    ...toggle,
    default: false,
    help: "resume the run in that folder, or begin it where there is none: for services",
    commands: ["serve"],
  },
  json: {
    ...toggle,
    default: false,
    help: "one JSON object a line on standard output, and nothing else there",
    commands: NAMES,
  },
} satisfies Group;

/** Under which heading the help lists each group. */
const GROUPS: readonly [string, Group][] = [
  ["Experiment:", EXPERIMENT],
  ["Line:", LINE],
  ["Data:", DATA],
  ["Model and local training:", TRAINING],
  ["Rounds:", ROUND],
  ["Flatness:", FLATNESS],
  ["Import:", IMPORT],
  ["Export:", EXPORT],
  ["Client:", CLIENT],
  ["Load:", LOAD],
  ["Privacy:", PRIVACY],
  ["Result:", OUTCOME],
];

/** Every flag. */
const TABLE = {
  ...EXPERIMENT,
  ...LINE,
  ...DATA,
  ...TRAINING,
  ...ROUND,
  ...FLATNESS,
  ...IMPORT,
  ...EXPORT,
  ...CLIENT,
  ...LOAD,
  ...PRIVACY,
  ...OUTCOME,
} satisfies Group;

export type Table = typeof TABLE;

const flagOf = (key: string, setting: Setting<unknown>) =>
  setting.flag ?? key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The rows of one command. */
export const flagsOf = (command: CommandName) =>
  GROUPS.flatMap(([heading, group]) =>
    Object.entries(group)
      .filter(([, { commands }]) => commands.includes(command))
      .map(([key, setting]) => ({
        key,
        setting,
        heading,
        flag: flagOf(key, setting),
        initial: setting.defaultIn?.[command] ?? setting.default,
      })),
  );
