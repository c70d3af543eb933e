/** What a client does in the round that is open, or did in the last one. */
export interface ClientWork {
  share: number;
  loss?: number;
  outcome?: string;
}

/** The work of all clients in the round that is open. */
export interface RoundWork {
  /** A round opens; with nobody selected it takes updates of any client. */
  opened(selected: readonly string[]): void;
  /** Notes how far a client is; false where that does not concern the round. */
  progress(client: string, share: number, loss: number): boolean;
  counted(client: string): void;
  /** The client's work is not in the round, for this code. */
  missed(client: string, code: string): void;
  of(client: string): Readonly<ClientWork> | undefined;
  /** How far the round is, from 0 to 1. */
  trained(): number;
  counts(): { readonly counted: number; readonly missed: number };
}

export function openRoundWork(): RoundWork {
  let work = new Map<string, ClientWork>();
  let anybody = false;

  const workOf = (client: string): ClientWork => {
    let own = work.get(client);
    if (own === undefined) work.set(client, (own = { share: 0 }));
    return own;
  };

  return {
    of: (client) => work.get(client),
    opened(selected) {
      anybody = selected.length === 0;
      // Where nobody is asked for the round, clients are at work across rounds.
      work = anybody
        ? new Map([...work].filter(([, own]) => own.outcome === undefined))
        : new Map(selected.map((client) => [client, { share: 0 }]));
    },
    progress(client, share, loss) {
      const own = anybody ? workOf(client) : work.get(client);
      if (own === undefined || own.outcome !== undefined) return false;
      own.share = share;
      own.loss = loss;
      return true;
    },
    counted(client) {
      const own = workOf(client);
      own.share = 1;
      own.outcome = "counted";
    },
    missed(client, code) {
      workOf(client).outcome = code;
    },
    trained() {
      let sum = 0;
      for (const { share, outcome } of work.values())
        if (outcome === undefined || outcome === "counted") sum += share;
      return work.size === 0 ? 0 : sum / work.size;
    },
    counts() {
      let counted = 0;
      let missed = 0;
      for (const { outcome } of work.values())
        if (outcome === "counted") counted++;
        else if (outcome !== undefined) missed++;
      return { counted, missed };
    },
  };
}
