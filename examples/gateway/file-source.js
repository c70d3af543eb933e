import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs";

const PIECE = 1 << 20;

/**
 * Messages that a logger appends to a file, one a line; looks for new ones every `every` milliseconds. A file that is
 * shorter than it was is a new one.
 * @param position the byte to begin at; `onMessage` is given the byte behind each message
 */
export function openFile(path, { onMessage, position = 0, every = 1000 }) {
  const piece = Buffer.alloc(PIECE);
  const look = () => {
    if (!existsSync(path)) return;
    const file = openSync(path, "r");
    try {
      if (fstatSync(file).size < position) position = 0;
      for (;;) {
        const length = readSync(file, piece, 0, PIECE, position);
        const read = piece.subarray(0, length);
        const lines = read.subarray(0, read.lastIndexOf("\n") + 1);
        for (let from = 0; from < lines.length;) {
          const to = lines.indexOf("\n", from) + 1;
          onMessage(lines.toString("utf8", from, to), position + to);
          from = to;
        }
        // No message is as long as a piece: what has no end is skipped.
        position += length === PIECE ? lines.length || PIECE : lines.length;
        if (length < PIECE) break;
      }
    } finally {
      closeSync(file);
    }
  };
  look();
  const timer = setInterval(look, every);
  return { close: async () => clearInterval(timer) };
}
