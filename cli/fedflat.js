#!/usr/bin/env node
// `npx fedflat` in the repository; the package has the compiled file itself for its command.
import "../dist/cli/main.js";
