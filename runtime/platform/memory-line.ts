import type { Socket } from "./platform.js";

/**
 * Two sockets joined in memory: what one sends, the other receives later, in order, as over a
 * network. `later` runs a function after the current one; the simulator and tests choose how late.
 */
export function memoryLine(later: (task: () => void) => void = queueMicrotask): [Socket, Socket] {
  let open = true;
  const end = () => {
    let waiting = 0;
    const socket: Socket & { other?: Socket } = {
      get bufferedAmount() {
        return waiting;
      },
      send(data) {
        if (!open) return;
        waiting += data.length;
        later(() => {
          if (open) socket.other?.onMessage?.(data);
          waiting -= data.length;
          if (open && waiting === 0) socket.onDrain?.();
        });
      },
      close(code = 1000, reason = "") {
        // What was sent before is still delivered, as by TCP.
        later(() => {
          if (!open) return;
          open = false;
          socket.other?.onClose?.(code, reason);
          socket.onClose?.(code, reason);
        });
      },
    };
    later(() => {
      if (open) socket.onOpen?.();
    });
    return socket;
  };
  const [a, b] = [end(), end()];
  [a.other, b.other] = [b, a];
  return [a, b];
}
