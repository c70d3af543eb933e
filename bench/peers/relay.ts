import { connect, createServer, type AddressInfo } from "node:net";

export interface Relay {
  readonly port: number;
  /** Where connections are passed on to. */
  to(port: number): void;
  /** Bytes that went over it, both ways. */
  bytes(): number;
  close(): void;
}

/** Passes connections on to another port of this machine, and counts what goes over them. */
export async function openRelay(): Promise<Relay> {
  let bytes = 0;
  let target = 0;
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ]) {
      from.on("data", (data) => (bytes += data.length));
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
      from.pipe(to);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    to: (port) => (target = port),
    bytes: () => bytes,
    close: () => server.close(),
  };
}
