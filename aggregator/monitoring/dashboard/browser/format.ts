// Figures as people read them.

export const percent = (share: number): string => `${(100 * share).toFixed(1)} %`;

export const wholePercent = (share: number): string => `${Math.round(100 * share)} %`;

export const plain = (value: number): string =>
  value === 0
    ? "0"
    : Math.abs(value) >= 1000 || Math.abs(value) < 0.001
      ? value.toExponential(1)
      : value.toPrecision(3);

export const seconds = (value: number): string =>
  value >= 120
    ? `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`
    : value >= 10
      ? `${value.toFixed(0)} s`
      : value >= 0.1
        ? `${value.toFixed(1)} s`
        : `${(1000 * value).toFixed(0)} ms`;

export function bytes(value: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${units[unit]}`;
}

/** Minutes and seconds that are left. */
export function countdown(milliseconds: number): string {
  const total = Math.max(0, Math.ceil(milliseconds / 1000));
  const [hours, minutes] = [Math.floor(total / 3600), Math.floor(total / 60) % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  return hours > 0
    ? `${hours}:${two(minutes)}:${two(total % 60)}`
    : `${minutes}:${two(total % 60)}`;
}

export const clock = (time: number): string =>
  new Date(time).toLocaleTimeString(undefined, { hour12: false });
