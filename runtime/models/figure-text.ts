/**
 * A figure in words: three decimals, or as many as show three digits of a small one, so that no
 * loss reads as nothing.
 */
export const figureText = (value: number | undefined): string =>
  value === undefined
    ? "-"
    : Math.abs(value) >= 1000
      ? value.toPrecision(4)
      : Math.abs(value) >= 0.1 || value === 0
        ? value.toFixed(3)
        : value.toPrecision(3);
