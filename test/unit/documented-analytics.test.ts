import { readFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { CATALOGUE, QUERY_NAMES } from '../../src/domain/analytics/catalogue.ts';

let docs: string;
beforeAll(async () => {
  docs = await readFile(new URL('../../docs/analytics.md', import.meta.url), 'utf8');
});

describe('docs/analytics.md', () => {
  it('lists every question that can be asked, and no other', () => {
    const table = docs.slice(docs.indexOf('| question |'), docs.indexOf('## Parameters'));
    const named = [...table.matchAll(/^\| (`[^|]+`) \|/gm)].flatMap(([, names]) => [...names!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!));
    expect(named.toSorted()).toEqual([...QUERY_NAMES].toSorted());
  });

  it('names filters that there are', () => {
    const row = /^\| ((?:`\w+`, )+)… \| only these/m.exec(docs)![1]!;
    const known = new Set(QUERY_NAMES.flatMap((name) => CATALOGUE[name].filters as readonly string[]));
    const named = [...row.matchAll(/`(\w+)`/g)].map(([, name]) => name!);
    expect(named.length).toBeGreaterThan(0);
    expect(named.filter((name) => !known.has(name))).toEqual([]);
  });
});
