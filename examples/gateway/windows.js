import { createHash } from "node:crypto";
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from "node:fs";

// A slot of the file: sequence number and place in the source (float64 each), the activity's name
// (UTF-8, padded with zeros), the window (float32), and the start of their SHA-256. Little-endian.
const NAME_BYTES = 32;
const HEAD_BYTES = 16 + NAME_BYTES;
const CHECK_BYTES = 8;

const checkOf = (slot) =>
  createHash("sha256").update(slot.subarray(0, -CHECK_BYTES)).digest().subarray(0, CHECK_BYTES);

/**
 * The newest `capacity` labelled windows of `size` numbers each, in one file of slots that are
 * written in turn: the file never grows beyond them, a window costs one small write, and a slot
 * that was half written when the power went is empty.
 *
 * A window stays in its slot, and examples come in the order of the slots. The client decides by an
 * example's place whether it is held out for evaluation, so a window that was held out yesterday is
 * not trained on today.
 */
export function openWindows(path, { capacity, size }) {
  const bytes = HEAD_BYTES + 4 * size + CHECK_BYTES;
  const file = openSync(path, constants.O_RDWR | constants.O_CREAT, 0o600);
  const slot = Buffer.alloc(bytes);
  /** Of each slot in use: which window it holds. */
  const held = new Map();
  let newest = { sequence: -1, position: 0 };

  const read = (index) =>
    readSync(file, slot, 0, bytes, index * bytes) === bytes &&
    checkOf(slot).equals(slot.subarray(-CHECK_BYTES));

  const slots = Math.min(capacity, Math.ceil(fstatSync(file).size / bytes));
  for (let index = 0; index < slots; index++) {
    if (!read(index)) continue;
    const name = slot.subarray(16, HEAD_BYTES);
    const sequence = slot.readDoubleLE(0);
    held.set(index, name.toString("utf8", 0, name.indexOf(0)));
    if (sequence > newest.sequence) newest = { sequence, position: slot.readDoubleLE(8) };
  }

  return {
    /** How many windows there are. */
    get count() {
      return held.size;
    },
    /** Where the source was when it gave the newest of them. */
    get position() {
      return newest.position;
    },
    /** Keeps a window, in place of the oldest one where there is no room. */
    add(activity, values, position = 0) {
      const sequence = newest.sequence + 1;
      const index = sequence % capacity;
      slot.fill(0, 0, HEAD_BYTES);
      slot.writeDoubleLE(sequence, 0);
      slot.writeDoubleLE(position, 8);
      slot.write(activity, 16, NAME_BYTES - 1);
      slot.set(new Uint8Array(values.buffer, values.byteOffset, 4 * size), HEAD_BYTES);
      slot.set(checkOf(slot), bytes - CHECK_BYTES);
      writeSync(file, slot, 0, bytes, index * bytes);
      held.set(index, activity);
      newest = { sequence, position };
    },
    /** The windows whose activity is among these classes, as the client takes its data. */
    examples(classes) {
      const used = [...held]
        .filter(([, activity]) => classes.includes(activity))
        .sort(([a], [b]) => a - b);
      const x = new Float32Array(used.length * size);
      used.forEach(([index], row) => {
        const values = new Uint8Array(x.buffer, row * 4 * size, 4 * size);
        readSync(file, values, 0, 4 * size, index * bytes + HEAD_BYTES);
      });
      return { x, y: used.map(([, activity]) => classes.indexOf(activity)) };
    },
    close: () => closeSync(file),
  };
}
