/** What the colours mean. */
import { element } from "../page/html.js";
import { gradient } from "./draw.js";

const WORDS: Record<"values" | "difference", [string, string]> = {
  values: ["lowest", "highest value of each channel in this window"],
  difference: ["less", "more; the middle is no difference"],
};

/** @param words of the lowest and the highest colour */
export function legend(isDifference: boolean, words = WORDS[isDifference ? "difference" : "values"]): HTMLElement {
  const bar = Object.assign(element("span"), { className: "scale" });
  bar.style.background = gradient(isDifference);
  return Object.assign(element("p", `${words[0]} `, bar, ` ${words[1]}`), { className: "legend" });
}
