/** The part of asciichart that is used here; it comes without types. */
declare module "asciichart" {
  interface Options {
    /** Lines of the drawing. */
    readonly height?: number;
    /** Escape sequence of each series. */
    readonly colors?: readonly string[];
    readonly format?: (value: number) => string;
  }
  const asciichart: {
    readonly blue: string;
    readonly green: string;
    readonly reset: string;
    plot(series: readonly (readonly number[])[], options?: Options): string;
  };
  export default asciichart;
}
