import { HttpProblem } from '../problems.ts';
import { UnreadableTable } from './table.ts';

/** How uploads of tables are turned away. */

export const CHARSETS = ['utf-8', 'windows-1251'] as const;
export type Charset = (typeof CHARSETS)[number];

const isCharset = (name: string): name is Charset => (CHARSETS as readonly string[]).includes(name);

/** The parts of a Content-Type. @throws HttpProblem 415 for a charset that is not read */
export const contentTypeOf = (contentType = ''): { type: string; charset: Charset } => {
  const [type = '', ...parameters] = contentType.split(';').map((part) => part.trim().toLowerCase());
  const charset = parameters.find((parameter) => parameter.startsWith('charset='))?.slice('charset='.length).replaceAll('"', '') ?? 'utf-8';
  if (!isCharset(charset)) throw new HttpProblem(415, `The charset ${JSON.stringify(charset.slice(0, 40))} is not read. Use utf-8, or windows-1251.`, { headers: { connection: 'close' } });
  return { type, charset };
};

/** @throws HttpProblem 415 for what is no CSV */
export const csvCharsetOf = (contentType: string | undefined): Charset => {
  const { type, charset } = contentTypeOf(contentType);
  if (type !== 'text/csv') throw new HttpProblem(415, 'The body has to be CSV, with "Content-Type: text/csv".', { headers: { connection: 'close' } });
  return charset;
};

/** What cannot be read as a table is refused as a whole. */
export const readOrRefuse = async <T>(read: () => T | Promise<T>): Promise<T> => {
  try {
    return await read();
  } catch (error) {
    if (error instanceof UnreadableTable) throw new HttpProblem(422, `${error.message} Nothing was taken in.`);
    throw error;
  }
};
