/**
 * The sandbox's "language model": reads the transcript it is sent and answers by rules.
 *
 * It knows no call. What it finds, it finds in the words, and it quotes them as they stand; so it works
 * on transcripts that nobody scripted, if not cleverly.
 */
export interface Line {
  speaker: string;
  text: string;
}

export interface Facts {
  name: string;
  value: string;
  quote: string;
}

const LINE = /^\[\d+\] (\S+) (?:\d+:)?\d+:\d+: (.*)$/gm;

export const linesIn = (prompt: string): Line[] => [...prompt.matchAll(LINE)].map(([, speaker, text]) => ({ speaker: speaker!, text: text! }));

/** The rubric's questions as `- id: question` lines. */
export const criteriaIn = (prompt: string): { id: string; optional: boolean }[] =>
  [...prompt.matchAll(/^- ([a-z_0-9]+): (.*)$/gm)].map(([, id, question]) => ({ id: id!, optional: question!.includes('not_applicable') }));

const isAgent = (line: Line): boolean => line.speaker === 'agent';
const byOrder = (lines: Line[]): { agent: Line[]; customer: Line[] } => {
  if (lines.some((line) => line.speaker === 'agent' || line.speaker === 'customer')) {
    return { agent: lines.filter(isAgent), customer: lines.filter((line) => !isAgent(line)) };
  }
  // Unnamed speakers: whoever speaks first answered the phone.
  const first = lines[0]?.speaker;
  return { agent: lines.filter((line) => line.speaker === first), customer: lines.filter((line) => line.speaker !== first) };
};

const OBJECTION = /worr|not happy|too expensive|more than i expected|higher than|not sure|is it worth|problem/i;

const RULES: Record<string, (agent: Line[], customer: Line[]) => Line | 'not_applicable' | undefined> = {
  greeting: (agent) => agent.slice(0, 3).find(({ text }) => /good (morning|afternoon|evening)|hello|hi\b|this is|speaking|thank you for calling/i.test(text)),
  needs: (agent) => agent.slice(1).find(({ text }) => text.includes('?') && /how|what|which|when|who|do you|did you|may i|since|is this|would you|shall/i.test(text)),
  presentation: (agent) => agent.find(({ text }) => /recommend|i will|i'll|we (can|reserve|offer)|it is|fits|the test shows|our (line|consumer)|can send/i.test(text)),
  objections: (agent, customer) => (customer.some(({ text }) => OBJECTION.test(text)) ? agent.find(({ text }) => /understand|sorry|apolog|if your|we reserve|no problem/i.test(text)) : 'not_applicable'),
  closing: (agent) => agent.slice(-2).find(({ text }) => /thank|goodbye|bye|you will hear|have a (nice|good)/i.test(text)),
  tone: (agent) => agent.find(({ text }) => /thank|please|sorry|welcome|certainly|of course|may i/i.test(text)),
};

/** How patterns sound that calls are counted by. */
const PATTERN_SOUNDS: { kind: string; sound: RegExp }[] = [
  { kind: 'objection_price', sound: /too expensive|more than i expected|higher than usual/i },
  { kind: 'objection_timing', sound: /think about it|looking around|perhaps later/i },
  { kind: 'objection_authority', sound: /my partner said|have to ask my/i },
  { kind: 'complaint', sound: /not happy|complain|terrible|no dial tone/i },
  { kind: 'repeated_contact', sound: /second time|called before|again about/i },
  { kind: 'churn_risk', sound: /cancel|another provider|leave you/i },
  { kind: 'purchase_intent', sound: /go ahead|sign this month|decide this week|budget is approved/i },
];

export const analyse = (lines: Line[], criteria: { id: string; optional: boolean }[]): object => {
  const { agent, customer } = byOrder(lines);
  const unhappy = customer.find(({ text }) => /not happy|angry|complain|second time|terrible|no dial tone|higher than usual/i.test(text));
  const happy = customer.find(({ text }) => /great|perfect|sounds good|thank you very much|that is quick|wonderful/i.test(text));
  const need = customer.find(({ text }) => /want|need|looking|invoice|renew|calling about|landline|brakes?|car|asked/i.test(text)) ?? customer[0];
  return {
    summary: need ? `The customer said: ${need.text.slice(0, 300)}` : 'Nothing of substance was said.',
    sentiment: unhappy ? 'negative' : happy ? 'positive' : 'neutral',
    answers: criteria.map(({ id, optional }) => {
      const found = RULES[id]?.(agent, customer);
      if (found === 'not_applicable') return { criterion: id, answer: optional ? 'not_applicable' : 'no', reason: 'It did not come up.', quotes: [] };
      return found ? { criterion: id, answer: 'yes', reason: 'The agent says so.', quotes: [found.text] } : { criterion: id, answer: 'no', reason: 'Nothing of the kind is said.', quotes: [] };
    }),
    issues_detected: unhappy ? [unhappy.text.slice(0, 200)] : [],
    recommendations: RULES['needs']!(agent, customer) ? [] : ['Ask what the customer needs before making an offer.'],
    patterns: PATTERN_SOUNDS.flatMap(({ kind, sound }) => customer.filter(({ text }) => sound.test(text)).map(({ text }) => ({ kind, quote: text }))),
  };
};

/** How each fact sounds; the first group of a match is its value. */
const SOUNDS: { name: string; of: 'customer' | 'any'; sound: RegExp; value?: string }[] = [
  { name: 'callerName', of: 'customer', sound: /(?:my name is|this is|i am|here is|nina|speaking is) ([A-Z][a-z]+)\b/ },
  { name: 'company', of: 'customer', sound: /(?:from|of|for|at|put) ((?:[A-Z][\w&]+ ?){1,4}(?:Pte Ltd|Inc|LLC|Ltd|GmbH))/ },
  { name: 'company', of: 'customer', sound: /just put ([a-z ]+company)/i },
  { name: 'company', of: 'any', sound: /speaking with \w+ of ((?:[A-Z]\w+ ?){1,4}Pte Ltd)/ },
  { name: 'company', of: 'any', sound: /(?:calling|thank you for calling|from|at) ((?:[A-Z]\w+ ){1,3}(?:Auto|Garage|Repairs?|Motors?|Automotive)(?: \w+)?)/ },
  { name: 'email', of: 'customer', sound: /\b([\w.+-]+@[\w-]+\.[\w.-]+\w)/ },
  { name: 'brn', of: 'customer', sound: /\b(\d{8,9}[A-Z]|[RST]\d{2}[A-Z]{2}\d{4}[A-Z])\b/ },
  { name: 'brn', of: 'customer', sound: /\bWrite (\d{3,7})\b/ },
  { name: 'leadId', of: 'customer', sound: /lead ID [^.]*?(00Q\w{12}(?:\w{3})?)\b/i },
  { name: 'callType', of: 'customer', sound: /(existing customer|renew)/i, value: 'existing_renewal' },
  { name: 'callType', of: 'customer', sound: /(we are opening|want (?:a|broadband|to go ahead)|looking around|need (?:a|something)|i want)/i, value: 'new_inquiry' },
  { name: 'segment', of: 'customer', sound: /(my home|residential|my family|do not have a company)/i, value: 'consumer' },
  { name: 'segment', of: 'customer', sound: /(enterprise)/i, value: 'enterprise' },
  { name: 'segment', of: 'customer', sound: /(Pte Ltd|warehouse|offices|business)/, value: 'sme' },
  { name: 'revenueFlagged', of: 'customer', sound: /(revenue flagged)/i, value: 'yes' },
  { name: 'serviceType', of: 'customer', sound: /(business internet|internet line|managed network|broadband|landlines?|backup line|internet|lines)/i },
  { name: 'qualification', of: 'customer', sound: /(budget is approved|sign this month|go ahead|decide this week)/i, value: 'strong' },
  { name: 'qualification', of: 'customer', sound: /(looking around|not sure|think about it|perhaps|do not really know)/i, value: 'weak' },
  { name: 'requirements', of: 'customer', sound: /(one gigabit[^.]*|five hundred megabits[^.]*|three sites[^.]*|forty lines[^.]*|same broadband plan[^.]*)/i },
];

export const factsOf = (lines: Line[]): Facts[] => {
  const { customer } = byOrder(lines);
  const facts = new Map<string, Facts>();
  for (const { name, of, sound, value } of SOUNDS) {
    if (facts.has(name)) continue;
    for (const { text } of of === 'customer' ? customer : lines) {
      const match = sound.exec(text);
      if (!match) continue;
      facts.set(name, { name, value: value ?? match[1]!.trim(), quote: sentenceWith(text, match.index) });
      break;
    }
  }
  const caller = facts.get('callerName');
  if (caller) facts.set('customerName', { ...caller, name: 'customerName' });
  return [...facts.values()];
};

/** The sentence of a line that an index lies in, as it stands there. Dots inside addresses end none. */
const sentenceWith = (text: string, index: number): string => {
  const start = Math.max(0, ...[...text.slice(0, index).matchAll(/[.?!] /g)].map((end) => end.index + 2));
  const end = /[.?!](?: |$)/.exec(text.slice(index));
  return text.slice(start, end ? index + end.index + 1 : undefined);
};
