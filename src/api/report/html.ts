/** Text that is HTML already. Only `html` makes it. */
export class Html {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

type Piece = string | number | Html | readonly Piece[] | null | undefined | false;

const ESCAPES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
const escape = (text: string): string => text.toWellFormed().replaceAll(/[&<>"']/g, (found) => ESCAPES[found]!);

const render = (piece: Piece): string => {
  if (piece === null || piece === undefined || piece === false) return '';
  if (piece instanceof Html) return piece.text;
  if (Array.isArray(piece)) return piece.map(render).join('');
  return escape(String(piece));
};

/** A template whose values are escaped, for text and for quoted attributes. What was said on a call comes out as text, whatever it is. */
export const html = (strings: TemplateStringsArray, ...values: Piece[]): Html => new Html(strings.reduce((text, string, index) => `${text}${render(values[index - 1])}${string}`));
