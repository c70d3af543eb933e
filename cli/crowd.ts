import type { View } from "./view.js";

/** Milliseconds for which what was said is counted. */
const SPAN = 60_000;
/** Lines of a kind of event that one client causes in a span. */
const OF_ONE = 20;
/** Lines that say what a run waits for. */
const OF_WAITS = 200;
/** All of these together. */
const OF_ALL = 1000;

/**
 * The same view, in which clients do not fill a terminal, or what reads it: of what one of them
 * causes 20 lines of a kind of event are said in a minute, and of what all cause a thousand. The
 * next sentence says how many were left out.
 * @param now the time in milliseconds
 */
export function crowdView(view: View, now: () => number = () => performance.now()): View {
  let began = now();
  const said = new Map<string, number>();
  let all = 0;
  let leftOut = 0;
  return {
    ...view,
    say(event, facts, sentence) {
      const { client } = facts;
      // What the run waits for changes with every word of a client.
      if (typeof client !== "string" && event !== "waiting")
        return view.say(event, facts, sentence);
      if (now() - began >= SPAN) {
        began = now();
        said.clear();
        all = 0;
      }
      const kind = `${event} ${String(client)}`;
      const count = said.get(kind) ?? 0;
      if (count >= (client === undefined ? OF_WAITS : OF_ONE) || all >= OF_ALL)
        return void leftOut++;
      said.set(kind, count + 1);
      all++;
      if (sentence === undefined || leftOut === 0) return view.say(event, facts, sentence);
      view.say(event, { ...facts, leftOut }, `${sentence} (${leftOut} more lines were left out.)`);
      leftOut = 0;
    },
  };
}
