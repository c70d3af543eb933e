import { FedflatError } from "../errors.js";

/**
 * The client will not do an assignment; `code` is one of those of `decline` in docs/protocol.md.
 */
export class Declined extends FedflatError {}
