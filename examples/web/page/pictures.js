import { FederatedClient } from "/fedflat/client.js";

// Visitors' own pictures adapt an imported network, of which the last layer alone learns.

const at = (id) => document.getElementById(id);
const percent = (share) => `${(100 * share).toFixed(0)} %`;

const { aggregator, model } = await (await fetch("/settings.json")).json();
const { input, classes } = model;
const [height, width, channels] = input;

/** An element with properties and children. */
const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

/** A picture's middle as a canvas of the network's size. */
async function canvasOf(file) {
  const bitmap = await createImageBitmap(file);
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = element("canvas", { width, height });
  const [left, top] = [(bitmap.width - side) / 2, (bitmap.height - side) / 2];
  canvas.getContext("2d").drawImage(bitmap, left, top, side, side, 0, 0, width, height);
  bitmap.close();
  return canvas;
}

/** Its numbers from 0 to 1, channels last, as this network was trained: RGB, or grey as their mean. */
function numbersOf(canvas) {
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  const numbers = new Float32Array(width * height * channels);
  for (let i = 0; i < width * height; i++) {
    const rgb = data.subarray(4 * i, 4 * i + 3);
    if (channels === 1) numbers[i] = (rgb[0] + rgb[1] + rgb[2]) / 3 / 255;
    else for (let c = 0; c < 3; c++) numbers[3 * i + c] = rgb[c] / 255;
  }
  return numbers;
}

/** The canvas of a file that a visitor chose, or nothing and a sentence. */
const chosen = (file) =>
  canvasOf(file).catch(() => {
    at("problem").textContent = `"${file.name}" is no picture that this browser reads.`;
  });

/** Own pictures: their numbers, by class. */
const own = classes.map(() => []);

classes.forEach((name, label) => {
  const shown = element("div", { className: "pictures" });
  const picker = element("input", { type: "file", accept: "image/*", multiple: true });
  picker.addEventListener("change", async () => {
    for (const file of picker.files) {
      const canvas = await chosen(file);
      if (canvas === undefined) continue;
      own[label].push(numbersOf(canvas));
      shown.append(canvas);
    }
    at("begin").disabled = own.flat().length < 2;
  });
  at("classes").append(element("label", { className: "picked" }, name, picker), shown);
});

const bars = classes.map((name) => {
  const bar = element("progress", { max: 1, value: 0, ariaLabel: name });
  const value = element("td", { className: "number" });
  const head = element("th", { scope: "row" }, name);
  at("bars").append(element("tr", {}, head, element("td", {}, bar), value));
  return { bar, value };
});

/** End to end. */
function joined(pictures) {
  const x = new Float32Array(pictures.length * width * height * channels);
  pictures.forEach((numbers, i) => x.set(numbers, i * numbers.length));
  return x;
}

function ownPictures() {
  const y = own.flatMap((pictures, label) => pictures.map(() => label));
  return { x: joined(own.flat()), y };
}

/** Takes part as the `tab`th client of this browser. */
async function takePart(tab) {
  const data = ownPictures();
  const client = new FederatedClient({ url: aggregator, state: `pictures-${tab}`, data });
  client.on("line", ({ up, reason }) => {
    if (up) at("tab").textContent = `Tab ${tab}: ${data.y.length} pictures`;
    at("problem").textContent = up ? "" : `No line to ${aggregator} (${reason}).`;
  });
  client.on("wait", ({ reason }) => (at("status").textContent = reason));
  client.on("problem", ({ message }) => (at("problem").textContent = message));
  client.on("progress", ({ round, batch, batches, loss }) => {
    at("status").textContent = `Trains for round ${round}.`;
    at("progress").value = batch / batches;
    at("loss").textContent = loss.toPrecision(3);
  });
  client.on("model", async ({ round }) => {
    const guesses = await client.predict(data.x);
    const right = guesses.filter(({ label }, i) => label === data.y[i]).length;
    at("round").textContent = round ?? "?";
    at("accuracy").textContent = percent(right / guesses.length);
    at("try").disabled = false;
  });
  at("try").onchange = async ({ target }) => {
    const canvas = target.files[0] && (await chosen(target.files[0]));
    if (canvas === undefined) return;
    at("chosen").replaceChildren(canvas);
    const [{ probabilities }] = await client.predict(numbersOf(canvas));
    bars.forEach(({ bar, value }, i) => {
      bar.value = probabilities[i];
      value.textContent = percent(probabilities[i]);
    });
  };
  return client.run();
}

at("begin").addEventListener("click", async () => {
  for (const button of document.querySelectorAll("#classes input, #begin")) button.disabled = true;
  // A state belongs to one tab at a time: the first that no other tab has is this tab's.
  for (let tab = 1; ; tab++)
    try {
      const { reason, message } = await takePart(tab);
      at("status").textContent =
        reason === "finished" ? `Finished. ${message}` : `${reason}: ${message}`;
      return;
    } catch (error) {
      if (error.code === "state-locked") continue;
      at("status").textContent = `failed: ${error.message}`;
      return;
    }
});
