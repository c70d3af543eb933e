import type { View } from "./view.js";

/** Milliseconds for which what was said is counted. */
const SPAN = 60_000;
/** Lines of a kind of event that one client causes in a span. */
const OF_ONE = 20;
/** All of these together. */
const OF_ALL = 1000;

/**
 * The same view, in which clients do not fill a terminal, or what reads it: of what one of them
 * causes 20 lines of a kind of event are said in a minute, and of what all cause a thousand. The
 * next sentence says how many were left out.
 * @param events what others cause without a client being named, and how many lines of each are said
 * @param now the time in milliseconds
 */
export function crowdView(
  view: View,
  events: Readonly<Record<string, number>>,
  now: () => number = () => performance.now(),
): View {
  let began = now();
  const said = new Map<string, number>();
  let all = 0;
  /** Events that were left out, and those of them that have a sentence. */
  let [leftOut, unsaid] = [0, 0];
  return {
    ...view,
    say(event, facts, sentence) {
      const { client } = facts;
      const most = typeof client === "string" ? OF_ONE : events[event];
      if (most === undefined) return view.say(event, facts, sentence);
      if (now() - began >= SPAN) {
        began = now();
        said.clear();
        all = 0;
      }
      const kind = `${event} ${String(client)}`;
      const count = said.get(kind) ?? 0;
      if (count >= most || all >= OF_ALL) {
        leftOut++;
        if (sentence !== undefined) unsaid++;
        return;
      }
      said.set(kind, count + 1);
      all++;
      if (sentence === undefined || leftOut === 0) return view.say(event, facts, sentence);
      view.say(event, { ...facts, leftOut }, sentence + remark(unsaid));
      leftOut = unsaid = 0;
    },
  };
}

const remark = (lines: number): string =>
  lines === 0 ? "" : ` (${lines === 1 ? "1 more line was" : `${lines} more lines were`} left out.)`;
