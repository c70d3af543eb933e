// The site of docs/, by `npm run docs` into dist/site. A page needs nothing of VitePress: what is
// written for the repository's host is read here.
import { readFileSync, readdirSync } from "node:fs";
import { posix } from "node:path";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitepress";

const REPOSITORY = "https://github.com/fedflat/fedflat";

/** Names of headings as the repository's host makes them, so that a link holds in both places. */
const slugify = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, "")
    .replaceAll(" ", "-");

/** A link out of docs/ leads to the repository. */
function outward(href, page) {
  if (/^([a-z]+:|#)/.test(href)) return href;
  const path = posix.join("docs", posix.dirname(page), href);
  return path.startsWith("docs/") ? href : `${REPOSITORY}/blob/main/${path}`;
}

const item = (text, link) => ({ text, link });

/** The sidebar's groups, and in the third what no group names. */
function sidebar(groups) {
  const named = groups.flatMap(({ items }) => items.map(({ link }) => link));
  for (const file of readdirSync(new URL("../../docs/", import.meta.url)).sort()) {
    const link = `/${file.replace(/\.md$/, "")}`;
    if (!file.endsWith(".md") || file === "index.md" || named.includes(link)) continue;
    const page = readFileSync(new URL(`../../docs/${file}`, import.meta.url), "utf8");
    groups[2].items.push(item(/^# (.*)$/m.exec(page)[1], link));
  }
  return groups;
}

export default defineConfig({
  title: "fedflat",
  description: "Federated learning for small devices, by npm alone.",
  srcDir: "../docs",
  srcExclude: ["api/**"],
  outDir: "../dist/site",
  base: process.env.FEDFLAT_SITE_BASE ?? "/",
  cleanUrls: false,
  lastUpdated: false,
  // The pages lie outside of this folder, where no node_modules is above them.
  vite: {
    resolve: {
      alias: [
        {
          find: /^vue(?=\/|$)/,
          replacement: fileURLToPath(new URL("../node_modules/vue", import.meta.url)),
        },
      ],
    },
  },
  markdown: {
    // A "<name>" in a sentence is text.
    html: false,
    anchor: { slugify },
    toc: { slugify },
    // Colours of code with enough contrast in both schemes.
    theme: { light: "github-light-high-contrast", dark: "github-dark-high-contrast" },
    config(md) {
      const text = md.renderer.rules.text;
      // Braces are text as well, not Vue's.
      md.renderer.rules.text = (...given) => text(...given).replaceAll("{{", "&#123;&#123;");
      const open = md.renderer.rules.link_open ?? ((t, i, o, _, self) => self.renderToken(t, i, o));
      md.renderer.rules.link_open = (tokens, i, options, env, self) => {
        const href = tokens[i].attrGet("href");
        tokens[i].attrSet("href", outward(href, env.relativePath));
        return open(tokens, i, options, env, self);
      };
      // A table wider than the page is scrolled by keyboard too.
      md.renderer.rules.table_open = () => '<table tabindex="0">\n';
    },
  },
  themeConfig: {
    search: { provider: "local" },
    outline: { level: [2, 3] },
    socialLinks: [{ icon: "github", link: REPOSITORY }],
    nav: [
      item("Start", "/guides/start"),
      item("Reference", "/client"),
      item("Protocol", "/protocol"),
      item("Results", "/results"),
    ],
    sidebar: sidebar([
      {
        text: "Start",
        items: [item("What is where", "/"), item("The first hour", "/guides/start")],
      },
      {
        text: "Guides",
        items: [
          item("Train on a gateway", "/guides/gateway"),
          item("Train in Electron", "/guides/electron"),
          item("Train in a page", "/guides/page"),
          item("Simulate", "/guides/simulate"),
          item("Operate", "/operations"),
          item("Scale", "/loadtest"),
          item("Privacy and threats", "/threat-model"),
          item("Use the model", "/using-the-model"),
          item("Bring a model", "/interchange"),
          item("Upgrade", "/upgrades"),
        ],
      },
      {
        text: "Reference",
        items: [
          item("Client", "/client"),
          item("Aggregator", "/aggregator"),
          item("Data", "/data"),
          item("Models", "/models"),
          item("Algorithms", "/algorithms"),
          item("Codecs", "/codecs"),
          item("Robust aggregation", "/robust"),
          item("An algorithm of your own", "/adding-an-algorithm"),
          item("Experiments", "/experiments"),
          item("Kernels for tfjs", "/tfjs-kernels"),
          item("Protocol", "/protocol"),
        ],
      },
      {
        text: "Results",
        items: [
          item("Five methods", "/results"),
          item("50 rounds", "/results-50-rounds"),
          item("Strength of MAN", "/results-zeta"),
          item("FedSAM", "/results-fedsam"),
          item("UCI HAR", "/results-uci-har"),
          item("Personal models", "/results-personal"),
          item("Beside other systems", "/comparison"),
        ],
      },
      {
        text: "Design",
        items: [item("Architecture", "/architecture"), item("Decisions", "/decisions/")],
      },
    ]),
  },
});
