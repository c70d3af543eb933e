/** So many of something, in words: `1 layer`, `2 layers`. */
export const counted = (count: number, noun: string): string =>
  `${count} ${noun}${count === 1 ? "" : "s"}`;
