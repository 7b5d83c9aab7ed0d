import { describe, expect, it } from '@jest/globals';
import { allowedAt, type CallingRules, leavesTurns, turnFrom } from '../../src/domain/daily-limit.ts';
import { startOfDay } from '../../src/domain/local-time.ts';
import { isQuiet, nextAllowedMs, type QuietWindow } from '../../src/domain/quiet-hours.ts';
import { SettingsChange } from '../../src/api/settings.schema.ts';

const at = (iso: string): number => Date.parse(iso);
const iso = (ms: number): string => new Date(ms).toISOString();
const night: QuietWindow[] = [{ from: '21:00', to: '08:00' }];
const early: QuietWindow[] = [{ from: '02:30', to: '05:00' }];

describe('quiet hours', () => {
  it.each<[what: string, zone: string, windows: QuietWindow[], now: string, next: string]>([
    ['none', 'Asia/Kolkata', [], '2026-11-21T02:00:00Z', '2026-11-21T02:00:00.000Z'],
    ['by day', 'Asia/Kolkata', night, '2026-11-21T06:00:00Z', '2026-11-21T06:00:00.000Z'],
    ['in a zone half an hour off', 'Asia/Kolkata', night, '2026-11-21T15:30:00Z', '2026-11-22T02:30:00.000Z'],
    ['a minute before them', 'Asia/Kolkata', night, '2026-11-21T15:29:59.999Z', '2026-11-21T15:29:59.999Z'],
    ['after midnight, of the day before', 'Asia/Kolkata', night, '2026-11-21T19:00:00Z', '2026-11-22T02:30:00.000Z'],
    ['at their end', 'Asia/Kolkata', night, '2026-11-22T02:30:00Z', '2026-11-22T02:30:00.000Z'],
    ['in a zone three quarters of an hour off', 'Asia/Kathmandu', night, '2026-11-21T16:00:00Z', '2026-11-22T02:15:00.000Z'],
    ['over the night on which clocks go forward', 'Europe/Berlin', night, '2026-03-28T20:30:00Z', '2026-03-29T06:00:00.000Z'],
    ['over the night on which clocks go back', 'Europe/Berlin', night, '2026-10-24T19:30:00Z', '2026-10-25T07:00:00.000Z'],
    ['over the night on which clocks go forward', 'America/New_York', night, '2026-03-08T02:30:00Z', '2026-03-08T12:00:00.000Z'],
    ['over the night on which clocks go back', 'America/New_York', night, '2026-11-01T02:00:00Z', '2026-11-01T13:00:00.000Z'],
    // 02:00 is followed by 03:00: 02:30 is never shown, 03:00 is quiet.
    ['that begin in an hour that is skipped', 'Europe/Berlin', early, '2026-03-29T00:59:59Z', '2026-03-29T00:59:59.000Z'],
    ['that begin in an hour that is skipped, from its end', 'Europe/Berlin', early, '2026-03-29T01:00:00Z', '2026-03-29T03:00:00.000Z'],
    ['that end in an hour that is skipped', 'Europe/Berlin', [{ from: '00:00', to: '02:30' }], '2026-03-28T23:30:00Z', '2026-03-29T01:00:00.000Z'],
    // 02:00 to 03:00 is shown twice, so 02:30 is too: after the first time it is 02:00 again, and not quiet.
    ['that begin in an hour that is shown twice', 'Europe/Berlin', early, '2026-10-25T00:45:00Z', '2026-10-25T01:00:00.000Z'],
    ['that begin in an hour that is shown twice, the second time', 'Europe/Berlin', early, '2026-10-25T01:30:00Z', '2026-10-25T04:00:00.000Z'],
    ['that end in an hour that is shown twice', 'Europe/Berlin', [{ from: '00:00', to: '02:30' }], '2026-10-24T22:30:00Z', '2026-10-25T00:30:00.000Z'],
    ['that end in an hour that is shown twice, after its first time', 'Europe/Berlin', [{ from: '00:00', to: '02:30' }], '2026-10-25T01:00:00Z', '2026-10-25T01:30:00.000Z'],
    ['on other days', 'Europe/Berlin', [{ from: '09:00', to: '17:00', days: ['sat'] }], '2026-11-20T10:00:00Z', '2026-11-20T10:00:00.000Z'],
    ['of a whole day', 'Europe/Berlin', [{ from: '00:00', to: '24:00', days: ['sun'] }], '2026-11-22T10:00:00Z', '2026-11-22T23:00:00.000Z'],
    ['of a whole day and the nights around it', 'Europe/Berlin', [...night, { from: '00:00', to: '24:00', days: ['sun'] }], '2026-11-21T20:30:00Z', '2026-11-23T07:00:00.000Z'],
    ['of a night that begins on Friday, on Saturday morning', 'Europe/Berlin', [{ from: '22:00', to: '06:00', days: ['fri'] }], '2026-11-21T03:00:00Z', '2026-11-21T05:00:00.000Z'],
    ['of a night that begins on Friday, on Friday morning', 'Europe/Berlin', [{ from: '22:00', to: '06:00', days: ['fri'] }], '2026-11-20T03:00:00Z', '2026-11-20T03:00:00.000Z'],
    ['of all days but one', 'UTC', [{ from: '00:00', to: '24:00', days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat'] }], '2026-11-23T00:00:00Z', '2026-11-29T00:00:00.000Z'],
  ])('%s, %s', (_what, zone, windows, now, next) => {
    expect(iso(nextAllowedMs(at(now), windows, zone))).toBe(next);
    expect(isQuiet(at(now), windows, zone)).toBe(at(now) !== at(next));
  });

  it.each(['Europe/Berlin', 'America/New_York', 'Asia/Kolkata', 'Australia/Lord_Howe', 'Africa/Cairo'])('let nobody be called in them, and not later than need be, around every change of clocks: %s', (zone) => {
    for (const windows of [night, early, [{ from: '00:00', to: '02:30' }], [{ from: '23:30', to: '00:30' }, { from: '01:45', to: '02:10' }]]) {
      for (const [from, to] of [['2026-03-07T00:00Z', '2026-03-09T00:00Z'], ['2026-03-28T12:00Z', '2026-03-30T00:00Z'], ['2026-04-04T00:00Z', '2026-04-06T00:00Z'], ['2026-10-24T12:00Z', '2026-10-26T00:00Z'], ['2026-11-01T00:00Z', '2026-11-02T00:00Z']] as const) {
        let expected: number | undefined;
        // Backwards, minute by minute: the next minute that is not quiet is the answer for all quiet ones before it.
        for (let ms = at(to) + 86_400_000; ms >= at(from); ms -= 300_000) {
          if (!isQuiet(ms, windows, zone)) expected = ms;
          if (ms <= at(to)) expect(iso(nextAllowedMs(ms, windows, zone))).toBe(iso(expected!));
        }
      }
    }
  });

  it.each<[QuietWindow[], boolean]>([
    [[], true],
    [night, true],
    [[{ from: '00:00', to: '24:00' }], false],
    [[{ from: '08:00', to: '20:00' }, { from: '20:00', to: '08:00' }], false],
    [[{ from: '00:00', to: '24:00', days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat'] }, { from: '00:02', to: '24:00', days: ['sun'] }], true],
    // A minute is no time for a turn, which lasts that long itself.
    [[{ from: '00:00', to: '24:00', days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat'] }, { from: '00:01', to: '24:00', days: ['sun'] }], false],
    // One minute at the end of Wednesday, and one at the beginning of Thursday.
    [[{ from: '00:00', to: '24:00', days: ['mon', 'tue', 'fri', 'sat', 'sun'] }, { from: '00:00', to: '23:59', days: ['wed'] }, { from: '00:01', to: '24:00', days: ['thu'] }], true],
    [[{ from: '12:00', to: '11:59' }, { from: '11:59', to: '12:00', days: ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] }], false],
  ])('%j leave time: %s', (windows, leaves) => {
    expect(leavesTurns(windows)).toBe(leaves);
    expect(SettingsChange.safeParse({ quietHours: windows }).success).toBe(leaves);
  });

  it.each<[string, object, RegExp | undefined]>([
    ['a time zone', { timeZone: 'Asia/Singapore' }, undefined],
    ['no time zone', { timeZone: 'Asia/Atlantis' }, /time zone/],
    ['hours', { quietHours: night }, undefined],
    ['hours that are none', { quietHours: [{ from: '25:00', to: '08:00' }] }, /time of day/],
    ['hours that begin at the end of the day', { quietHours: [{ from: '24:00', to: '08:00' }] }, /time of day/],
    ['hours without length', { quietHours: [{ from: '08:00', to: '08:00' }] }, /whole day/],
    ['days that are none', { quietHours: [{ from: '08:00', to: '09:00', days: ['someday'] }] }, /Invalid/],
    ['no days', { quietHours: [{ from: '08:00', to: '09:00', days: [] }] }, /Too small/],
    ['a limit', { voiceCallsPerNumberPerDay: 3, voiceLines: 10 }, undefined],
    ['a negative limit', { voiceCallsPerNumberPerDay: -1 }, /Too small/],
    ['half a line', { voiceLines: 1.5 }, /int/],
  ])('as a setting: %s', (_what, change, problem) => {
    const read = SettingsChange.safeParse(change);
    if (problem) expect(read.error?.issues[0]?.message).toMatch(problem);
    else expect(read.success).toBe(true);
  });
});

describe('a turn that is given now', () => {
  it.each<[what: string, zone: string, windows: QuietWindow[], now: string, next: string]>([
    ['ends as quiet hours begin', 'Europe/Berlin', night, '2026-11-21T19:58:57.000Z', '2026-11-21T19:58:57.000Z'],
    ['would end a moment after they have begun', 'Europe/Berlin', night, '2026-11-21T19:58:57.001Z', '2026-11-22T07:00:00.000Z'],
    ['would be given in their first moment', 'Europe/Berlin', night, '2026-11-21T20:00:00.000Z', '2026-11-22T07:00:00.000Z'],
    ['is given as they end', 'Europe/Berlin', night, '2026-11-22T07:00:00.000Z', '2026-11-22T07:00:00.000Z'],
    ['would last over a minute that is quiet', 'UTC', [{ from: '12:01', to: '12:02' }], '2026-11-21T12:00:59.500Z', '2026-11-21T12:02:00.000Z'],
    ['finds too little time between two windows', 'UTC', [{ from: '10:00', to: '12:00' }, { from: '12:01', to: '14:00' }], '2026-11-21T11:00:00.000Z', '2026-11-21T14:00:00.000Z'],
    ['finds enough time between two windows', 'UTC', [{ from: '10:00', to: '12:00' }, { from: '12:02', to: '14:00' }], '2026-11-21T11:00:00.000Z', '2026-11-21T12:00:00.000Z'],
    // 01:59 is followed by 03:00, which is quiet.
    ['would see clocks go forward into them', 'Europe/Berlin', early, '2026-03-29T00:59:00.000Z', '2026-03-29T03:00:00.000Z'],
    ['ends before clocks go forward into them', 'Europe/Berlin', early, '2026-03-29T00:58:57.000Z', '2026-03-29T00:58:57.000Z'],
    // 02:00 to 03:00 is shown twice: quiet from 02:30 on, both times.
    ['would last into the first of two half hours', 'Europe/Berlin', early, '2026-10-25T00:29:30.000Z', '2026-10-25T01:00:00.000Z'],
    ['would last into the second of two half hours', 'Europe/Berlin', early, '2026-10-25T01:29:30.000Z', '2026-10-25T04:00:00.000Z'],
    // 02:59 is followed by 02:00, which is quiet again.
    ['would see clocks go back into them', 'Europe/Berlin', [{ from: '00:00', to: '02:30' }], '2026-10-25T00:59:30.000Z', '2026-10-25T01:30:00.000Z'],
  ])('%s, %s', (_what, zone, windows, now, next) => {
    expect(iso(turnFrom(at(now), { quietHours: windows }, zone))).toBe(next);
    // Whoever is put off until then is not put off once more.
    expect(iso(turnFrom(at(next), { quietHours: windows }, zone))).toBe(next);
  });
});

describe('the days of a zone', () => {
  it.each<[string, string, number, string]>([
    ['Asia/Kolkata', '2026-11-21T20:00:00Z', 0, '2026-11-21T18:30:00.000Z'],
    ['Asia/Kolkata', '2026-11-21T20:00:00Z', 1, '2026-11-22T18:30:00.000Z'],
    ['Europe/Berlin', '2026-03-29T12:00:00Z', 0, '2026-03-28T23:00:00.000Z'],
    ['Europe/Berlin', '2026-03-29T12:00:00Z', 1, '2026-03-29T22:00:00.000Z'],
    ['America/New_York', '2026-11-01T23:00:00Z', 0, '2026-11-01T04:00:00.000Z'],
    ['America/New_York', '2026-11-01T23:00:00Z', 1, '2026-11-02T05:00:00.000Z'],
    // Clocks go from 24:00 to 01:00: there is no midnight.
    ['Africa/Cairo', '2026-04-24T12:00:00Z', 0, '2026-04-23T22:00:00.000Z'],
    ['Africa/Cairo', '2026-04-23T12:00:00Z', 1, '2026-04-23T22:00:00.000Z'],
  ])('%s at %s and %i days on begin at %s', (zone, now, days, start) => {
    expect(iso(startOfDay(at(now), zone, days))).toBe(start);
  });
});

describe('a due call', () => {
  const rules: CallingRules = { timeZone: 'Europe/Berlin', quietHours: night, voiceCallsPerNumberPerDay: 2 };
  it.each<[string, { timeZone?: string; dialledToday: number }, string, { at: string; waitsFor?: string }]>([
    ['by day', { dialledToday: 0 }, '2026-11-21T12:00:00Z', { at: '2026-11-21T12:00:00.000Z' }],
    ['by day, the second of the day', { dialledToday: 1 }, '2026-11-21T12:00:00Z', { at: '2026-11-21T12:00:00.000Z' }],
    ['over the limit waits for the next day and its quiet hours', { dialledToday: 2 }, '2026-11-21T12:00:00Z', { at: '2026-11-22T07:00:00.000Z', waitsFor: 'daily_limit' }],
    ['in quiet hours', { dialledToday: 0 }, '2026-11-21T22:00:00Z', { at: '2026-11-22T07:00:00.000Z', waitsFor: 'quiet_hours' }],
    ['to a zone of its own', { dialledToday: 0, timeZone: 'America/New_York' }, '2026-11-21T12:00:00Z', { at: '2026-11-21T13:00:00.000Z', waitsFor: 'quiet_hours' }],
    ['over the limit in a zone of its own', { dialledToday: 5, timeZone: 'America/New_York' }, '2026-11-21T15:00:00Z', { at: '2026-11-22T13:00:00.000Z', waitsFor: 'daily_limit' }],
  ])('%s', (_what, call, now, { at: expected, waitsFor }) => {
    const { atMs, ...rest } = allowedAt(at(now), call, rules);
    expect({ at: iso(atMs), ...rest }).toEqual({ at: expected, ...(waitsFor ? { waitsFor } : {}) });
  });

  it('is not held back by a limit of none', () => {
    expect(allowedAt(0, { dialledToday: 1_000 }, { ...rules, quietHours: [], voiceCallsPerNumberPerDay: 0 })).toEqual({ atMs: 0 });
  });
});
