import { render } from "preact";

import "./style.css";
import { App } from "./ui/app.tsx";

const root = document.getElementById("app");
root?.replaceChildren();
if (root) render(<App />, root);
