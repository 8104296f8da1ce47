/** What a person is told when something cannot be shown: what is wrong, what was expected, how to mend it. */
export class Problem extends Error {}

/** The first Problem behind an error, which libraries wrap; else the error's own words. */
export function inWords(error: unknown): string {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (one instanceof Problem) return one.message;
  }
  return error instanceof Error ? error.message : String(error);
}
