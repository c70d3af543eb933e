// VitePress's own theme, with more contrast where it has less than WCAG 2 AA asks for.
import theme from "vitepress/theme";
import "./contrast.css";

export default theme;
