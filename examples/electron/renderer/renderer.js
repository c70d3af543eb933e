// The page: shows the state that the main process has, and asks it to pause. `window.fedflat` is
// what preload.cjs gives it.
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
let paused = false;

function show(state) {
  const { status, round, batch, batches, loss, rounds, ended } = state;
  paused = state.paused;
  at("status").textContent = status;
  at("progress").value = batch ? batch / batches : 0;
  at("round").textContent = round ?? "-";
  at("batch").textContent = batch ? `${batch} of ${batches}` : "-";
  at("loss").textContent = loss?.toPrecision(3) ?? "-";
  const newest = rounds.at(-1);
  at("accuracy").textContent = newest ? percent(newest.share) : "-";
  at("rounds").replaceChildren(
    ...rounds.slice(-8).map(({ round, share }) => {
      const line = document.createElement("li");
      const bar = document.createElement("progress");
      bar.value = share;
      bar.max = 1;
      line.append(`Round ${round ?? "?"}`, bar, percent(share));
      return line;
    }),
  );
  at("pause").textContent = paused ? "Resume" : "Pause";
  at("pause").disabled = ended === true;
}

at("pause").addEventListener("click", () => window.fedflat.pause(!paused));
window.fedflat.onState(show);
window.fedflat.state().then(show);
