const TAGS = ['b', 'strong', 'i', 'em', 'u', 'ins', 's', 'strike', 'del', 'tg-spoiler', 'span', 'a', 'code', 'pre', 'blockquote'];
const ENTITIES: Record<string, string> = { lt: '<', gt: '>', amp: '&', quot: '"' };

/** What is shown of a message in Telegram's HTML; or what is wrong with it, as strictly as Telegram takes it. */
export const parseHtml = (html: string): { text: string } | { problem: string } => {
  const open: string[] = [];
  let text = '';
  let at = 0;
  for (const { 0: found, 1: closing, 2: tag, 3: entity, index } of html.matchAll(/<(\/?)([^\s>]*)[^>]*>|&(#?\w+);|[<&]/g)) {
    const offset = Buffer.byteLength(html.slice(0, index));
    text += html.slice(at, index);
    at = index + found.length;
    if (tag !== undefined) {
      if (!TAGS.includes(tag.toLowerCase())) return { problem: `Unsupported ${closing ? 'end' : 'start'} tag "${tag}" at byte offset ${offset}` };
      if (!closing) open.push(tag);
      else if (open.pop() !== tag) return { problem: `Unmatched end tag at byte offset ${offset}` };
    } else if (entity !== undefined) text += ENTITIES[entity] ?? found;
    else if (found === '<') return { problem: `Unclosed start tag at byte offset ${offset}` };
    else text += found;
  }
  if (open.length > 0) return { problem: `Can't find end tag corresponding to start tag "${open.at(-1)}"` };
  return { text: text + html.slice(at) };
};
