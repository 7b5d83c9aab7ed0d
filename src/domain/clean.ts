/**
 * Text from a model or a caller, fit to be stored and shown: control, zero-width and bidirectional
 * characters and halves of surrogate pairs removed, white space folded, cut to a length.
 */
export const clean = (text: string, maxCharacters: number): string =>
  text
    .replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, ' ')
    .replaceAll(/\s+/g, ' ')
    .trim()
    .slice(0, maxCharacters)
    // An upstream may send half of a surrogate pair, and cutting may leave one.
    .replaceAll(/\p{Cs}/gu, '');
