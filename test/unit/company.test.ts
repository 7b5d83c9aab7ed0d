import { describe, expect, it } from '@jest/globals';
import { mayBeOneCompany } from '../../src/domain/company.ts';

describe('two names of companies', () => {
  it.each([
    ['Bluefin Marine', 'Bluefin Marine Supplies Pte Ltd'],
    ['Blue Fin Marine Supplies', 'Bluefin Marine Supplies Pte Ltd'],
    ['bluefin marine supplies limited', 'BLUEFIN MARINE SUPPLIES PTE. LTD.'],
    ['Müller Söhne', 'Muller Sohne GmbH'],
    ['ООО Ромашка', 'Ромашка'],
    // Nothing that could tell it from another.
    ['the company', 'Bluefin Marine Supplies Pte Ltd'],
  ])('may be one: %s and %s', (a, b) => {
    expect([mayBeOneCompany(a, b), mayBeOneCompany(b, a)]).toEqual([true, true]);
  });
  it.each([
    ['Driftwood Bakery Pte Ltd', 'Copperleaf Printing Pte Ltd'],
    ['Summit Trading Group', 'Lantern Trading Group'],
    ['ООО Ромашка', 'ООО Василёк'],
  ])('are two: %s and %s', (a, b) => {
    expect([mayBeOneCompany(a, b), mayBeOneCompany(b, a)]).toEqual([false, false]);
  });
});
