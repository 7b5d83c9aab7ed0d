/** Lines of CSV that people open in spreadsheets. */

/** What a spreadsheet would take for a formula, also behind what it skips and in wide letters. Numbers with a sign, phone numbers among them, do no harm and stay as they are. */
const isFormula = (text: string): boolean => /^[\s\uFEFF]*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|^[\t\r\n]/.test(text) && !/^[+-]\d+(\.\d+)?$/.test(text);

export type CsvValue = string | number | boolean | null | undefined;

const cellOf = (value: CsvValue): string => {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'string') return String(value);
  const safe = isFormula(value) ? `'${value}` : value;
  return /[",;\t\r\n]/.test(safe) || safe !== safe.trim() ? `"${safe.replaceAll('"', '""')}"` : safe;
};

/** One line with its end. A text that begins like a formula gets an apostrophe in front. */
export const csvLine = (values: readonly CsvValue[]): string => `${values.map(cellOf).join(',')}\r\n`;
