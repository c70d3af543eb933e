import { FedflatError } from "../../runtime/errors.js";

/**
 * The error of the ledger for one of the file system: a full disk (`storage-full`) can be waited
 * for; any other (`storage-failed`) is not to be trusted again.
 * @param sentence what cannot be done, where the disk is not full
 */
export const storageError = (folder: string, error: unknown, sentence: string): FedflatError =>
  isFullDisk(error)
    ? new FedflatError("storage-full", `"${folder}" is on a full disk`, { cause: error })
    : new FedflatError("storage-failed", sentence, { cause: error });

export const isFullDisk = (error: unknown): boolean =>
  error instanceof Error && "code" in error && (error.code === "ENOSPC" || error.code === "EDQUOT");

/** Whether the ledger can write again as soon as there is room. */
export const isFull = (error: unknown): boolean =>
  error instanceof FedflatError && error.code === "storage-full";
