import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { categoryOf, type CategoryRule } from '../../src/domain/category.ts';
import { matchesPattern } from '../../src/domain/pattern.ts';

describe('a pattern', () => {
  it.each([
    ['Sales', 'sales', true],
    ['Sales*', 'Sales North', true],
    ['*north', 'Sales North', true],
    ['*a*b*', 'xxaxxbxx', true],
    ['a*a', 'a', false],
    ['', 'x', false],
    ['*', '', true],
    ['Sales.', 'SalesX', false],
  ])('%j fits %j: %s', (pattern, name, fits) => expect(matchesPattern(pattern, name)).toBe(fits));

  it('means what the regular expression with .* means', () => {
    const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
    const plain = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 });
    fc.assert(fc.property(letters, plain, (pattern, name) => expect(matchesPattern(pattern, name)).toBe(new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(name))));
  });
});

describe("a call's category", () => {
  const rules: CategoryRule[] = [
    { category: 'complaints', queues: ['Complaints*', 'Escalations'] },
    { category: 'sales', direction: 'outbound' },
    { category: 'support', queues: ['*support*'], agents: ['A. Example'], sources: ['webex'] },
  ];
  const call = { source: 'webex', direction: 'inbound' as const };
  it.each([
    ['the first rule that fits', { ...call, queueName: 'complaints EU', direction: 'outbound' as const }, 'complaints'],
    ['a rule by direction alone', { ...call, direction: 'outbound' as const }, 'sales'],
    ['a rule with every condition met', { ...call, queueName: 'Tech Support 2', agentName: 'a. example' }, 'support'],
    ['none where one condition fails', { ...call, queueName: 'Tech Support 2', agentName: 'B. Example' }, undefined],
    ['none where the call has no such name', call, undefined],
  ])('is that of %s', (_what, of, category) => expect(categoryOf(rules, of)).toBe(category));
});
