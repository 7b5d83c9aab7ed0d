/**
 * The JSON object in a text that should be nothing else, from a model that nobody holds to it: without its
 * thoughts, fences and friendly words around. A text without one is given back as it is.
 */
export const jsonInText = (text: string): string => {
  const said = text.replace(/^\s*<think>[\s\S]*?<\/think>/, '');
  const fenced = /```(?:json)?\s*\n([\s\S]*?)\n\s*```/.exec(said)?.[1] ?? said;
  const from = fenced.indexOf('{');
  const to = fenced.lastIndexOf('}');
  return from >= 0 && to > from ? fenced.slice(from, to + 1) : text;
};
