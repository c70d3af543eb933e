import { readFileSync, readdirSync } from "node:fs";
import { repository } from "../cli/command.js";

const NOT_OURS = /(^|\/)node_modules$|^(dist|runs|test-artifacts|\.git|\.ci\/tools|docs\/api)$/;

/** All files of the repository, as paths from its root. */
export const FILES: readonly string[] = (function below(folder: string): string[] {
  return readdirSync(repository(folder), { withFileTypes: true }).flatMap((entry) => {
    const path = folder + entry.name;
    if (NOT_OURS.test(path)) return [];
    return entry.isDirectory() ? below(`${path}/`) : [path];
  });
})("");

export const DOCUMENTS: readonly string[] = FILES.filter((path) => path.endsWith(".md"));

/** What people wrote as a program, where its comments are those of JavaScript. */
export const SOURCES: readonly string[] = FILES.filter((path) => /\.(ts|mjs|cjs|js)$/.test(path));

export const textOf = (path: string): string => readFileSync(repository(path), "utf8");

/** The blocks of code of a document in one of these languages, each with its place. */
export function blocksOf(document: string, ...languages: readonly string[]) {
  const text = textOf(document);
  return [...text.matchAll(/^( *)```(\w*)\n([^]*?)^ *```$/gm)]
    .filter(([, , language]) => languages.includes(language))
    .map(({ index, 3: code }) => ({
      place: `${document}:${text.slice(0, index).split("\n").length}`,
      code,
    }));
}

/** A comment, or what may hold two slashes without being one. */
const COMMENT_OR_STRING =
  /\/\*[^]*?\*\/|(?<=^|[\s;{}(,])\/\/.*$|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`/gm;

/** The comments of a source file, each with its place. */
export function commentsOf(path: string) {
  const source = textOf(path);
  return [...source.matchAll(COMMENT_OR_STRING)]
    .filter(([token]) => token.startsWith("/"))
    .map(({ index, 0: text }) => ({
      place: `${path}:${source.slice(0, index).split("\n").length}`,
      text,
    }));
}
