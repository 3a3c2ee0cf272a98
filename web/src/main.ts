// Mounts the page. Everything else is in App and below.

import "./app.css";
import { mount } from "svelte";
import App from "./App.svelte";
import { applyTheme } from "./lib/theme";

applyTheme();
const target = document.getElementById("app");
if (!target) throw new Error("the page has no element #app");
mount(App, { target });
