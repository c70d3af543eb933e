import type { Platform, Socket } from "../../runtime/platform/platform.js";

/** Limits of a connection: bytes a second each way (0 for none), and milliseconds each way. */
export interface LinkLimits {
  readonly upload: number;
  readonly download: number;
  readonly latency: () => number;
}

/**
 * Sockets that are as slow as a device's link: each frame leaves when those before it are through,
 * and arrives a latency later. Order is kept. What waits here is bounded by the windows of the
 * protocol.
 */
export function shaped(
  openSocket: Platform["openSocket"],
  { upload, download, latency }: LinkLimits,
): Platform["openSocket"] {
  return (url, options) => {
    const line = openSocket(url, options);
    const up = lane(upload, latency);
    const down = lane(download, latency);
    const socket: Socket = {
      send: (data) => up(data.length, () => line.send(data)),
      close: (code, reason) => line.close(code, reason),
      get bufferedAmount() {
        return line.bufferedAmount;
      },
    };
    line.onOpen = () => down(0, () => socket.onOpen?.());
    line.onMessage = (data) => down(data.length, () => socket.onMessage?.(data));
    line.onClose = (code, reason) => down(0, () => socket.onClose?.(code, reason));
    return socket;
  };
}

/** Calls what is given after as long as so many bytes take, in the order given. */
function lane(rate: number, latency: () => number) {
  // One timer for all: timers of their own, set at different moments of one turn, may fire in
  // another order.
  const queue: { readonly at: number; readonly then: () => void }[] = [];
  let free = 0;
  let arrived = 0;
  let timer: NodeJS.Timeout | undefined;

  function wait(): void {
    if (queue.length === 0) return;
    const left = Math.max(0, Math.ceil(queue[0].at - performance.now()));
    timer ??= setTimeout(arrive, left);
  }

  function arrive(): void {
    timer = undefined;
    const now = performance.now();
    while (queue.length > 0 && queue[0].at <= now) queue.shift()!.then();
    wait();
  }

  return (bytes: number, then: () => void): void => {
    const now = performance.now();
    free = Math.max(free, now) + (rate > 0 ? (1000 * bytes) / rate : 0);
    arrived = Math.max(arrived, free + latency());
    queue.push({ at: arrived, then });
    wait();
  };
}
