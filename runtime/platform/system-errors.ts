/** What the system's codes say, as the end of "..., got ". */
const WORDS: Readonly<Record<string, string>> = {
  EACCES: "one that this user has no permission for",
  EADDRINUSE: "one that another program has",
  EEXIST: "something that is there already",
  EISDIR: "a folder",
  EMFILE: "too many open files",
  ENAMETOOLONG: "a name that is too long",
  ENOENT: "a path where there is nothing",
  ENOSPC: "a full disk",
  ENOTDIR: "a path that leads through a file",
  ENOTEMPTY: "a folder that is not empty",
  EPERM: "one that the system does not allow",
  EROFS: "a file system that can only be read",
};

/** Why the system refused, in words, for a sentence that ends with "got ...". */
export function inWords(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  return WORDS[code] ?? (error instanceof Error ? error.message : String(error));
}
