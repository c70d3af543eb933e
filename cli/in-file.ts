import { ConfigError, type FedflatError } from "../runtime/errors.js";

/**
 * The error of a reader that knows bytes, for a person who knows a path: readers call what they are
 * given `file`, or name a place in it. What is wrong with a flag is about no file.
 */
export function inFile(path: string, error: FedflatError): FedflatError {
  const { message } = error;
  if (error instanceof ConfigError) return error;
  error.message = /^"file["./]/.test(message)
    ? `"${path}${message.slice('"file'.length)}`
    : message.replace(/^".*?"(?= )/, (label) => `${label} in "${path}"`);
  return error;
}
