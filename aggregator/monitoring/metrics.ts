/** Bytes of frames, counted where they pass. */
export interface Traffic {
  received: number;
  sent: number;
}

/**
 * What `GET /metrics` answers with. The aggregator has no format of its own, so that a device does
 * not carry one: the program that runs it makes the figures from the aggregator's events, its
 * `load()` and what is told here.
 */
export interface Metrics {
  /** The answer's content type. */
  readonly contentType: string;
  /** The answer to a scrape; `traffic` holds all bytes of frames since the start. */
  text(traffic: Readonly<Traffic>): Promise<string>;
  /**
   * The aggregator refused or ended a connection. `why` is one of a few reasons of its own, never a
   * client's words.
   */
  ended(this: void, why: string): void;
}
