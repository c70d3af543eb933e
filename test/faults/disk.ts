import type { FileLayer } from "../../runtime/platform/node-files.js";
import { random } from "../../runtime/tensors/random.js";

/** What goes wrong at one call of a disk. */
export type Fault =
  /**
   * The call throws EIO and has no effect; what a failed sync was to write is lost for good, as on
   * Linux.
   */
  | "fail"
  /** A write leaves half of its bytes and throws EIO. */
  | "short"
  /** The disk is full for this call and some more: half a write, then ENOSPC. */
  | "full"
  /** The power is cut before the call has an effect. */
  | "cut";

/**
 * What a power cut leaves of the bytes and names that were not synced: nothing, all, or what chance
 * decides.
 */
export type Survival = "synced" | "all" | "some";

interface Inode {
  bytes: Uint8Array;
  /** What the platter has. */
  durable: Uint8Array;
  /** Ranges that a failed sync lost: a later sync does not write them, though they can be read. */
  lost: [number, number][];
}

export interface Disk extends FileLayer {
  /** Every call that changes something, in order: the places where something can go wrong. */
  readonly calls: readonly string[];
  /** The power has been cut. */
  readonly isOff: boolean;
  /** A disk with what this one has after its power was cut. */
  afterPowerCut(survival: Survival, seed?: number): Disk;
  /** Sets what goes wrong next: at the call of that number, counted from the first. */
  break(call: number, fault: Fault): void;
}

/** How many calls a full disk stays full for. */
const FULL_FOR = 4;

const failure = (code: string, call: string): NodeJS.ErrnoException =>
  Object.assign(new Error(`${code}: simulated, at ${call}`), { code });

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));

/** A disk in memory that keeps apart what was written from what would survive a power cut. */
export function simulatedDisk(files: ReadonlyMap<string, Uint8Array> = new Map()): Disk {
  const names = new Map<string, Inode>();
  for (const [path, bytes] of files) names.set(path, { bytes, durable: bytes, lost: [] });
  /** Names as the platter has them. */
  const durableNames = new Map(names);
  const calls: string[] = [];
  let fault: { readonly call: number; readonly kind: Fault } | undefined;
  let off = false;

  /** Counts a call and lets it fail where it is to; `half` does what a short write does. */
  function call(name: string, half?: () => void, lost?: () => void): void {
    if (off) throw failure("EPOWER", name);
    const number = calls.push(name) - 1;
    if (fault === undefined || number < fault.call) return;
    const { kind } = fault;
    if (kind === "full") {
      if (number >= fault.call + FULL_FOR) return;
      if (!/^(write|create|exclusive|rename)/.test(name)) return;
      half?.();
      throw failure("ENOSPC", name);
    }
    if (number > fault.call) return;
    if (kind === "cut") {
      off = true;
      throw failure("EPOWER", name);
    }
    if (kind === "short") half?.();
    lost?.();
    throw failure("EIO", name);
  }

  const find = (path: string): Inode => {
    const inode = names.get(path);
    if (inode === undefined) throw failure("ENOENT", path);
    return inode;
  };

  return {
    calls,
    get isOff() {
      return off;
    },
    break(call, kind) {
      fault = { call, kind };
    },
    async read(path) {
      if (off) throw failure("EPOWER", "read");
      const inode = names.get(path);
      return inode && Uint8Array.from(inode.bytes);
    },
    async size(path) {
      if (off) throw failure("EPOWER", "size");
      return names.get(path)?.bytes.length ?? 0;
    },
    async list(folder) {
      if (off) throw failure("EPOWER", "list");
      return [...names.keys()]
        .filter((path) => parentOf(path) === folder)
        .map((path) => path.slice(folder.length + 1))
        .sort();
    },
    async makeFolder(path) {
      call(`makeFolder ${path}`);
    },
    async open(path, how) {
      call(`${how} ${path}`);
      if (how === "exclusive" && names.has(path)) throw failure("EEXIST", path);
      if (how !== "append" || !names.has(path)) {
        const durable = names.get(path)?.durable ?? new Uint8Array();
        names.set(path, { bytes: new Uint8Array(), durable, lost: [] });
      }
      const inode = find(path);
      const add = (bytes: Uint8Array) => {
        inode.bytes = Buffer.concat([inode.bytes, bytes]);
      };
      return {
        async write(bytes) {
          call(`write ${path}`, () => add(bytes.subarray(0, bytes.length >> 1)));
          add(bytes);
        },
        async truncate(length) {
          call(`truncate ${path}`);
          inode.bytes = Uint8Array.from(inode.bytes.subarray(0, length));
        },
        async sync() {
          call(`sync ${path}`, undefined, () =>
            inode.lost.push([inode.durable.length, inode.bytes.length]),
          );
          inode.durable = Uint8Array.from(inode.bytes);
          for (const [from, to] of inode.lost) inode.durable.fill(0, from, to);
        },
        async close() {
          call(`close ${path}`);
        },
      };
    },
    async rename(from, to) {
      call(`rename ${to}`);
      names.set(to, find(from));
      names.delete(from);
    },
    async remove(path) {
      call(`remove ${path}`);
      names.delete(path);
    },
    async syncFolder(folder) {
      call(`syncFolder ${folder}`);
      for (const path of durableNames.keys())
        if (parentOf(path) === folder && !names.has(path)) durableNames.delete(path);
      for (const [path, inode] of names)
        if (parentOf(path) === folder) durableNames.set(path, inode);
    },
    afterPowerCut(survival, seed = 0) {
      off = true;
      const chance = random("power cut", seed);
      const survives = () => survival === "all" || (survival === "some" && chance.next() < 0.5);
      const after = new Map<string, Uint8Array>();
      for (const path of new Set([...durableNames.keys(), ...names.keys()])) {
        const inode = (survives() ? names : durableNames).get(path);
        if (inode === undefined) continue;
        const { bytes, durable } = inode;
        after.set(
          path,
          survival === "some"
            ? // A page that got there, and one that did not.
              Buffer.concat([
                durable,
                bytes.subarray(
                  durable.length,
                  durable.length + chance.integer(Math.max(0, bytes.length - durable.length) + 1),
                ),
              ])
            : Uint8Array.from(survival === "all" ? bytes : durable),
        );
      }
      return simulatedDisk(after);
    },
  };
}
