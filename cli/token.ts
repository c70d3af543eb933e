import { readFile } from "node:fs/promises";
import { ConfigError } from "../runtime/errors.js";

/** The token in a file. @throws ConfigError `usage` */
export async function readToken(file: string): Promise<string> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch {
    throw new ConfigError(
      "usage",
      `"--token-file" expected a file that can be read, got "${file}"`,
    );
  }
  const token = text.trim();
  if (token === "")
    throw new ConfigError(
      "usage",
      `"--token-file" expected a token in "${file}", got an empty file`,
    );
  return token;
}
