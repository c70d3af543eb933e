import type { ClientFilter, PageUpdate } from "../messages.js";

/** Waits between two tries to reach the aggregator, in milliseconds; the last one repeats. */
const WAITS = [500, 1000, 2000, 5000];
/** The aggregator says something at least every 15 seconds. */
const SILENCE = 40_000;

/** What the page has already, and what it looks at. */
interface Wanted {
  readonly token: string | undefined;
  readonly feed: string;
  readonly since: number;
  readonly filter: ClientFilter;
  readonly from: number;
}

interface StreamEvents {
  update(update: PageUpdate): void;
  /** Not without a token, or not with this one. */
  refused(why: string): void;
  /** The connection is down and is tried again; in words why. */
  down(why: string): void;
}

/**
 * The connection to the aggregator: opened again when it breaks, and closed while nobody sees the
 * page.
 */
interface Stream {
  /** Starts again with what is wanted now. */
  reopen(): void;
}

export function openStream(wanted: () => Wanted, events: StreamEvents): Stream {
  let current: AbortController | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;

  function reopen(): void {
    clearTimeout(timer);
    current?.abort();
    if (document.hidden) return;
    const own = (current = new AbortController());
    void read(own).then((why) => {
      if (own.signal.aborted && why === undefined) return;
      if (current !== own) return;
      events.down(why ?? "the connection was silent");
      const wait = WAITS[Math.min(failures++, WAITS.length - 1)];
      timer = setTimeout(reopen, wait);
    });
  }

  /** Reads until the end, and gives back in words how it came; nothing where we ended it. */
  async function read(own: AbortController): Promise<string | undefined> {
    const { token, ...rest } = wanted();
    const query = new URLSearchParams(
      Object.entries(rest).map(([name, value]) => [name, String(value)]),
    );
    let watchdog: ReturnType<typeof setTimeout> | undefined;
    let silent = false;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => {
        silent = true;
        own.abort();
      }, SILENCE);
    };
    try {
      heard();
      const response = await fetch(`page/events?${query}`, {
        headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
        signal: own.signal,
        cache: "no-store",
      });
      if (response.status === 401) {
        const why = (await response.text()).trim();
        // Not asked again before there is a token.
        own.abort();
        events.refused(why);
        return undefined;
      }
      if (!response.ok || response.body === null)
        return (await response.text()).trim() || `it answers ${response.status}`;
      failures = 0;
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = "";
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return "it closed the connection";
        heard();
        const parts = (rest + value).split("\n\n");
        rest = parts.pop() ?? "";
        for (const part of parts)
          if (part.startsWith("data: "))
            // Written by our own aggregator, in the version that also serves this page.
            events.update(JSON.parse(part.slice(6)) as PageUpdate);
      }
    } catch {
      if (own.signal.aborted) return silent ? "it is silent" : undefined;
      return "it does not answer";
    } finally {
      clearTimeout(watchdog);
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      clearTimeout(timer);
      current?.abort();
    } else reopen();
  });
  reopen();
  return { reopen };
}
