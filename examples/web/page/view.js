import { SIZE } from "./images.js";

const SVG = "http://www.w3.org/2000/svg";
const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(0)} %`;

/** An element with attributes and children. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** An image of 28 x 28 grey bytes as a canvas. */
function picture(bytes) {
  const canvas = element("canvas", { width: 28, height: 28 });
  const pixels = new ImageData(28, 28);
  bytes.forEach((value, i) => pixels.data.set([value, value, value, 255], 4 * i));
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

/**
 * The page: shows what it is told.
 * @param test the images that the newest model is tried on, and their labels; a row of them can be chosen from
 */
export function openView({ names, test }) {
  const image = (row) => test.x.subarray(row * SIZE, (row + 1) * SIZE);
  const row = names.map((_, label) => test.y.indexOf(label));
  let chosen = row[0];
  let predictions;
  /** Accuracy and predictions, round by round. */
  const history = [];

  const buttons = row.map((index) => {
    const name = element("span", { class: "guess" }, "?");
    const button = element(
      "button",
      { type: "button", title: names[test.y[index]] },
      picture(image(index)),
      name,
    );
    button.addEventListener("click", () => {
      chosen = index;
      drawRow();
      drawChosen();
    });
    at("row").append(button);
    return { index, button, name };
  });

  const bars = names.map((name) => {
    const bar = element("progress", { max: 1, value: 0, "aria-label": name });
    const value = element("td", { class: "number" });
    const line = element(
      "tr",
      {},
      element("th", { scope: "row" }, name),
      element("td", {}, bar),
      value,
    );
    at("bars").append(line);
    return { bar, value, line };
  });

  function drawRow() {
    for (const { index, button, name } of buttons) {
      button.setAttribute("aria-pressed", index === chosen);
      if (predictions === undefined) continue;
      const guess = predictions[index];
      name.textContent = names[guess.label];
      button.className = guess.label === test.y[index] ? "right" : "wrong";
    }
  }

  function drawChosen() {
    const label = test.y[chosen];
    at("chosen").replaceChildren(picture(image(chosen)));
    at("truth").textContent = names[label];
    bars.forEach(({ bar, value, line }, i) => {
      const share = predictions?.[chosen].probabilities[i] ?? 0;
      bar.value = share;
      value.textContent = predictions ? percent(share) : "";
      line.className = i === label ? "truth" : "";
    });
    at("rounds").replaceChildren(
      ...history
        .slice(-8)
        .map(({ round, guesses }) =>
          element(
            "li",
            {},
            `Round ${round}: `,
            element("b", {}, percent(guesses[chosen].probabilities[label])),
          ),
        ),
    );
  }

  /** Accuracy against round, as a line over the whole width. */
  function drawCurve() {
    const step = 300 / Math.max(history.length - 1, 1);
    const points = history
      .map(({ accuracy }, i) => `${i * step},${100 - 100 * accuracy}`)
      .join(" ");
    const line = document.createElementNS(SVG, "polyline");
    line.setAttribute("points", points);
    at("curve").replaceChildren(line);
  }

  drawRow();
  drawChosen();

  return {
    /** This tab has a state of its own and a line. */
    joined(tab, labels) {
      const own = [...new Set(labels)].sort((a, b) => a - b);
      document.title = `Tab ${tab} - fedflat`;
      at("tab").textContent = `Tab ${tab}`;
      at("own").textContent =
        `${labels.length} images: ${own.map((label) => names[label]).join(", ")}.`;
      at("never").textContent = names.filter((_, label) => !own.includes(label)).join(", ");
    },
    line(problem) {
      at("problem").textContent = problem;
    },
    waits(reason) {
      at("status").textContent = reason;
    },
    progress({ round, batch, batches, loss }) {
      at("status").textContent = `Trains for round ${round}.`;
      at("progress").value = batch / batches;
      at("loss").textContent = loss.toPrecision(3);
    },
    assignment({ round, what, message }) {
      const said = {
        offered: "is trained; the update is on its way",
        committed: "is done; this tab's update is in the model",
        refused: `went on without this tab: ${message}`,
        declined: `was declined: ${message}`,
        failed: `failed here: ${message}`,
      }[what];
      if (said) at("status").textContent = `Round ${round} ${said}.`;
      if (what === "offered") at("progress").value = 1;
    },
    /** A new model, and what it takes the test images for. */
    model(round, guesses) {
      predictions = guesses;
      const right = guesses.filter(({ label }, i) => label === test.y[i]);
      const accuracy = right.length / guesses.length;
      history.push({ round: round ?? "?", accuracy, guesses });
      at("round").textContent = round ?? "?";
      at("accuracy").textContent = percent(accuracy);
      drawRow();
      drawChosen();
      drawCurve();
    },
    ended(reason, message) {
      at("status").textContent =
        reason === "finished" ? `Finished. ${message}` : `${reason}: ${message}`;
      document.body.dataset.ended = reason;
    },
  };
}
