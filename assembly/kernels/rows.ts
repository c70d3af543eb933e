import { axpy } from "./vector";

// Rows of a matrix looked up, added to, and copied between matrices of different width.

// y[i] = table[token[i]]; tokens: whole numbers as float32 [count]; table: [vocabulary, units]; y:
// [count, units]. A token outside the vocabulary gives a row of zeros.
export function lookUp(tokens: usize, table: usize, y: usize, count: i32, units: i32, vocabulary: i32): void {
  const row = <usize>units << 2;
  for (let i = 0; i < count; i++, tokens += 4, y += row) {
    const token = <i32>load<f32>(tokens);
    if (<u32>token < <u32>vocabulary) memory.copy(y, table + <usize>token * row, row);
    else memory.fill(y, 0, row);
  }
}

// dtable = 0, then dtable[token[i]] += dy[i]: the gradient of lookUp by its table.
export function lookUpBackprop(tokens: usize, dy: usize, dtable: usize, count: i32, units: i32, vocabulary: i32): void {
  const row = <usize>units << 2;
  memory.fill(dtable, 0, <usize>vocabulary * row);
  for (let i = 0; i < count; i++, tokens += 4, dy += row) {
    const token = <i32>load<f32>(tokens);
    if (<u32>token < <u32>vocabulary) axpy(dtable + <usize>token * row, dy, units, 1);
  }
}

// to[row, 0..columns) = from[row, 0..columns); strides in floats from row to row.
export function copyColumns(from: usize, fromStride: i32, to: usize, toStride: i32, rows: i32, columns: i32): void {
  const bytes = <usize>columns << 2;
  for (let row = 0; row < rows; row++) {
    memory.copy(to, from, bytes);
    from += <usize>fromStride << 2;
    to += <usize>toStride << 2;
  }
}
