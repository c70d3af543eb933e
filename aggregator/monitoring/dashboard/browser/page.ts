import { openClients } from "./clients.js";
import { byId, element, setText } from "./dom.js";
import { bytes, clock, countdown, percent, plain, seconds } from "./format.js";
import type { InputRow, LogEntry, Now, RoundPoint, RunCard, PageUpdate } from "../messages.js";
import { numberOf, openPlots, UNKNOWN } from "./plots.js";
import { openStream } from "./stream.js";

// The live page: what the aggregator tells, shown; what an admin asks for, sent.

/** Where the token is kept, until the tab is closed. */
const TOKEN = "fedflat-token";
/** What is read aloud is not more often than this, in milliseconds. */
const ALOUD = 15_000;
const LOG_SHOWN = 200;

let token = sessionStorage.getItem(TOKEN) ?? undefined;
/** A token that was typed in and is not known to be good. */
let tried = false;
let run: RunCard | undefined;
let now: Now | undefined;
/** When the round's deadline is, in the time of `performance.now()`. */
let due: number | undefined;
let inputs: readonly InputRow[] = [];
let threshold = "";
let revision = 0;
let over = false;
/** Nothing is told without a token. */
let locked = false;
const rounds = new Map<number, RoundPoint>();
const entries = new Map<number, LogEntry>();

const plots = openPlots();
const clients = openClients(() => stream.reopen());
const stream = openStream(
  () => ({
    token,
    feed: run?.feed ?? "",
    since: revision,
    filter: clients.filter,
    from: clients.from,
  }),
  { update: take, refused, down },
);

// ---- what is told ----

function take(update: PageUpdate): void {
  if (update.run !== undefined) welcome(update.run);
  if (update.now !== undefined) {
    now = update.now;
    due = now.left === undefined ? undefined : performance.now() + now.left;
    showNow();
  }
  if (update.clients !== undefined) clients.count(update.clients);
  if (update.inputs !== undefined) inputs = update.inputs;
  if (update.threshold !== undefined) threshold = update.threshold;
  if (update.inputs !== undefined || update.threshold !== undefined) showInputs();
  if (update.table !== undefined) clients.change(update.table);
  if (update.rounds !== undefined) {
    for (const point of update.rounds) rounds.set(point.round, point);
    showRounds();
  }
  if (update.log !== undefined) {
    for (const entry of update.log) entries.set(entry.number, entry);
    showLog();
  }
  if (update.revision !== undefined) revision = update.revision;
}

function welcome(next: RunCard): void {
  if (next.feed !== run?.feed) {
    rounds.clear();
    entries.clear();
  }
  run = next;
  locked = false;
  clients.clear();
  byId("notice").hidden = true;
  line("live", "Live");
  const man = next.zeta === 0 ? "without MAN" : `MAN, ζ ${next.zeta}`;
  setText(byId("run"), `${next.algorithm}, ${man} · ${next.model} · run ${next.run.slice(0, 8)}`);
  setText(byId("bears"), next.bears);
  if (tried) signedIn();
  showRounds();
  showLog();
}

function refused(why: string): void {
  locked = true;
  tried = false;
  line("down", "Locked");
  const first = token === undefined;
  if (!first) sessionStorage.removeItem(TOKEN);
  token = undefined;
  const dialog = byId<HTMLDialogElement>("token-dialog");
  setText(byId("token-error"), first ? "" : "The aggregator does not know this token.");
  if (!dialog.open) dialog.showModal();
  setText(byId("sentence"), why || "This aggregator asks for a token.");
  if (run !== undefined && !first) stream.reopen();
}

function down(why: string): void {
  if (over) {
    line("over", "Ended");
    notice("The run has ended and the aggregator has closed. This is the last it said.");
    return;
  }
  line("down", "Not connected");
  notice(`The aggregator is gone (${why}). What you see is the last it said; trying again.`);
}

function notice(text: string): void {
  byId("notice").hidden = false;
  setText(byId("notice"), text);
}

function line(state: string, text: string): void {
  const target = byId("line");
  target.dataset["state"] = state;
  setText(target, text);
  showControls();
}

// ---- now ----

let saidAloud = { at: 0, key: "" };

function showNow(): void {
  if (now === undefined || run === undefined) return;
  over = now.at === "finished" || now.at === "stopped";
  setText(byId("sentence"), now.sentence);
  if (now.bears !== undefined) setText(byId("bears"), now.bears);
  const { counted, goal, round, committed } = now;
  setText(byId("round-label"), over ? "Round" : `Round ${round}`);
  bar("round-bar", ".counted", goal > 0 ? counted / goal : 0);
  bar("round-bar", ".trained", goal > 0 ? now.trained : 0);
  showTime();
  setText(byId("run-label"), "Run");
  setText(byId("run-value"), `${committed} of ${run.rounds} rounds`);
  bar("run-bar", ".counted", committed / run.rounds);
  document.title = `${committed}/${run.rounds} · fedflat`;
  showControls();
  const key = `${now.at} ${round} ${now.held}`;
  const time = performance.now();
  if (key !== saidAloud.key && time - saidAloud.at > ALOUD) {
    saidAloud = { at: time, key };
    setText(byId("aloud"), now.sentence);
  }
}

function bar(id: string, part: string, share: number): void {
  const width = Math.round(100 * Math.min(1, Math.max(0, share)));
  const fill = byId(id).querySelector<HTMLElement>(part);
  if (fill !== null) fill.style.width = `${width}%`;
  if (part === ".counted") byId(id).setAttribute("aria-valuenow", String(width));
}

function showTime(): void {
  if (now === undefined) return;
  const { counted, goal } = now;
  const left = due === undefined ? "" : ` · ${countdown(due - performance.now())} left`;
  setText(byId("round-value"), goal > 0 ? `${counted} of ${goal} updates${left}` : "");
}
setInterval(showTime, 1000);

// ---- rounds ----

function showRounds(): void {
  const points = [...rounds.values()].sort((a, b) => a.round - b.round);
  plots.show(points, run);
  const last = points.at(-1);
  const pick = (of: (point: RoundPoint) => number | undefined) => {
    const known = points.filter((point) => of(point) !== undefined);
    const [before, latest] = [known.at(-2), known.at(-1)];
    return (
      latest && {
        round: latest.round,
        value: of(latest)!,
        before: before && of(before),
      }
    );
  };
  /** The first of these that any round has: figures of two kinds do not make one series. */
  const first = (...kinds: (readonly [(point: RoundPoint) => number | undefined, string])[]) => {
    for (const [of, where] of kinds) {
      const picked = pick(of);
      if (picked !== undefined) return { ...picked, where };
    }
    return undefined;
  };
  const { title, unit, test, client } = (run ?? UNKNOWN).metric;
  const judged = first(
    [(p) => numberOf(p, test), "on test data"],
    [(p) => numberOf(p, client), "on the clients' hold-outs"],
  );
  const isShare = unit === "share";
  const loss = first(
    [(p) => p.testLoss, "on test data"],
    [(p) => p.clientLoss, "on the clients' hold-outs"],
    [(p) => p.lossAfter, "after training"],
  );
  figures([
    [
      title,
      judged && (isShare ? percent : plain)(judged.value),
      judged
        ? `${judged.where}, round ${judged.round}${change(judged, isShare ? (d) => (100 * d).toFixed(1) : plain)}`
        : "no evaluation yet",
    ],
    [
      "Loss",
      loss && plain(loss.value),
      loss ? `${loss.where}, round ${loss.round}${change(loss, plain)}` : "no round yet",
    ],
    [
      "Last round",
      last?.seconds === undefined ? undefined : seconds(last.seconds),
      last?.participants === undefined ? "no round yet" : `${last.participants} updates counted`,
    ],
    [
      "Updates",
      last?.updateBytes === undefined ? undefined : bytes(last.updateBytes),
      last === undefined ? "no round yet" : `in round ${last.round}`,
    ],
  ]);
}

const change = (
  { value, before }: { value: number; before?: number },
  text: (difference: number) => string,
): string => {
  if (before === undefined) return "";
  const shown = text(Math.abs(value - before));
  if (Number(shown) === 0) return ", as before";
  return `, ${value < before ? "−" : "+"}${shown}`;
};

function figures(
  rows: readonly (readonly [name: string, value: string | undefined, note: string])[],
): void {
  byId("figures").replaceChildren(
    ...rows.map(([name, value, note]) =>
      element(
        "div",
        "figure",
        element("dt", "label", name),
        element("dd", value === undefined ? "value none" : "value", value ?? "–"),
        element("dd", "note", note),
      ),
    ),
  );
}

/** What inputs and targets are normalised by, channel by channel, and what error is an anomaly. */
function showInputs(): void {
  byId("inputs").hidden = inputs.length === 0 && threshold === "";
  byId("input-table").hidden = inputs.length === 0;
  byId("threshold").hidden = threshold === "";
  setText(byId("threshold"), threshold);
  byId("input-rows").replaceChildren(
    ...inputs.map(({ name, mean, deviation, constant }) =>
      element(
        "tr",
        "",
        element("td", "", name),
        element("td", "right number", plain(mean)),
        element("td", "right number", constant ? "never changes" : plain(deviation)),
      ),
    ),
  );
}

// ---- log ----

function showLog(): void {
  const latest = [...entries.values()].sort((a, b) => b.number - a.number).slice(0, LOG_SHOWN);
  byId("no-log").hidden = latest.length > 0;
  byId("log").hidden = latest.length === 0;
  byId("log").replaceChildren(
    ...latest.map(({ time, level, text }) => {
      const stamp = element("time", "number", clock(time));
      stamp.dateTime = new Date(time).toISOString();
      return element("li", level, stamp, element("span", "", text));
    }),
  );
}

// ---- controls ----

function showControls(): void {
  const live = byId("line").dataset["state"] === "live";
  const admin = run?.role === "admin";
  const acts = live && admin && now !== undefined && !over;
  const held = now?.held === true;
  const show = (id: string, shown: boolean) => (byId(id).hidden = !shown);
  show("release", acts && held);
  setText(byId("release"), now?.committed === 0 && now.at === "gathering" ? "Start" : "Resume");
  show("hold", acts && !held && !now?.draining);
  show("stop", acts);
  show("sign-in", locked || (live && !admin && run?.hasAdmin === true && !over));
  show("sign-out", live && admin);
}

async function ask(action: string): Promise<void> {
  const said = byId("said");
  setText(said, "");
  try {
    const response = await fetch(`page/${action}`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}` },
    });
    if (!response.ok)
      setText(said, `Not done: ${(await response.text()).trim() || response.status}.`);
  } catch {
    setText(said, "Not done: the aggregator does not answer.");
  }
}

const tokenDialog = byId<HTMLDialogElement>("token-dialog");
const tokenField = byId<HTMLInputElement>("token");
const stopDialog = byId<HTMLDialogElement>("stop-dialog");

function signedIn(): void {
  tried = false;
  if (token !== undefined) sessionStorage.setItem(TOKEN, token);
  tokenDialog.close();
}

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = tokenField.value.trim();
  tokenField.value = "";
  tried = true;
  stream.reopen();
});
byId("token-cancel").addEventListener("click", () => tokenDialog.close());
byId("sign-in").addEventListener("click", () => {
  setText(byId("token-error"), "");
  tokenDialog.showModal();
});
byId("sign-out").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  token = undefined;
  stream.reopen();
});
byId("hold").addEventListener("click", () => void ask("hold"));
byId("release").addEventListener("click", () => void ask("release"));
byId("stop").addEventListener("click", () => stopDialog.showModal());
byId("stop-cancel").addEventListener("click", () => stopDialog.close());
for (const [button, action] of [
  ["drain", "drain"],
  ["stop-now", "stop"],
] as const)
  byId(button).addEventListener("click", () => {
    stopDialog.close();
    void ask(action);
  });
